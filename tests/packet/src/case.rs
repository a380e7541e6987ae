//! One case: a program and the packets that it is timed with.
//!
//! Where a program leaves a frame as it is and the flow as it was, the kernel runs it over and over on
//! that one frame ([`Packets::Same`]), and reads its clock at the beginning and at the end. Where the
//! frame is rewritten, or the next run would find the flow known, each frame is run once
//! ([`Packets::Each`]), and the clock is read around each.

use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use naru_ebpf_common::names;
use naru_ebpf_common::protocol::{ACK, SYN};

use crate::frames::{self, Ends};
use crate::node::Node;

/// How often a program is run in one round of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// On one frame.
    repeat: u32,
    /// At most, on frames of distinct flows.
    flows: usize,
}

impl Effort {
    /// Some milliseconds for each case.
    pub(crate) const FULL: Self = Self {
        repeat: 50_000,
        flows: FLOWS,
    };
    /// As little as shows that every case goes the way that it is about.
    #[cfg(test)]
    pub(crate) const LEAST: Self = Self {
        repeat: 2,
        flows: 20,
    };
}

/// Flows of a round: distinct clients or ports, as many as the cases have.
pub(crate) const FLOWS: usize = 1000;

/// What is sent.
pub(crate) enum Packets {
    /// One frame, again and again.
    Same(Vec<u8>),
    /// Frames, one after another.
    Each(Vec<Vec<u8>>),
}

/// What has to be there before the packets are.
pub(crate) enum Before {
    /// No flow.
    Nothing,
    /// These flows, open at both ends: opened at the case's hook, answered at this one.
    Open(Vec<Ends>, &'static str),
    /// These flows of the uplink, opened by their first segments.
    Opened(Vec<Ends>),
}

/// A case.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The case that it is compared with.
    pub(crate) base: Option<String>,
    pub(crate) node: Rc<Node>,
    pub(crate) program: &'static str,
    pub(crate) before: Before,
    pub(crate) packets: Packets,
    /// What the program has to say of every packet.
    pub(crate) action: u32,
}

impl Case {
    /// Nanoseconds that a packet takes, on average over one round.
    pub(crate) fn round(&self, effort: Effort) -> Result<f64> {
        self.timed(effort).with_context(|| self.name.clone())
    }

    /// Whether the clock is read around each packet.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.packets, Packets::Each(_))
    }

    fn timed(&self, effort: Effort) -> Result<f64> {
        self.node.forget_flows()?;
        match &self.before {
            Before::Nothing => {}
            Before::Open(flows, answers) => {
                let mut flows = flows.iter().take(effort.flows);
                flows.try_for_each(|flow| self.open(*flow, answers))?;
            }
            Before::Opened(flows) => {
                let first = |flow: &Ends| frames::tcp(*flow, SYN);
                let mut firsts = flows.iter().take(effort.flows).map(first);
                firsts
                    .try_for_each(|frame| self.node.sent(names::FROM_NETWORK, &frame).map(drop))?;
            }
        }
        match &self.packets {
            Packets::Same(frame) => self.run(frame, effort.repeat),
            Packets::Each(frames) => {
                let frames = &frames[..effort.flows.min(frames.len())];
                let took = frames.iter().map(|frame| self.run(frame, 1));
                let sum: f64 = took.sum::<Result<f64>>()?;
                Ok(sum / frames.len() as f64)
            }
        }
    }

    fn run(&self, frame: &[u8], repeat: u32) -> Result<f64> {
        let ran = self.node.run(self.program, frame, repeat)?;
        ensure!(
            ran.action == self.action,
            "{} says {} of a packet, not {}",
            self.program,
            ran.action,
            self.action
        );
        Ok(ran.took.as_nanos() as f64)
    }

    /// SYN, its answer by whom the SYN met, ACK.
    fn open(&self, flow: Ends, answers: &str) -> Result<()> {
        let (node, here) = (&self.node, self.program);
        let arrived = node.sent(here, &frames::tcp(flow, SYN))?;
        let met = frames::parse(&arrived);
        node.sent(answers, &frames::tcp(met.back(), SYN | ACK))?;
        node.sent(here, &frames::tcp(flow, ACK)).map(drop)
    }
}
