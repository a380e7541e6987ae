//! Where charges queue up: one desk for each namespace with quotas. Who comes first settles for all
//! who wait by then, so that many creations cost few writes of the quota.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::book::{Book, Verdict};
use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::measure::Amounts;
use crate::store::{Change, WriteError};

/// Attempts against other writers of the same quota.
const ATTEMPTS: usize = 16;

/// What somebody wants to use.
pub(super) struct Charge {
    pub(super) target: Target,
    pub(super) object: Value,
    pub(super) usage: Amounts,
    /// Only to be tried.
    pub(super) dry: bool,
}

/// Whether a charge is taken, or why not.
pub(super) type Settled = std::result::Result<(), String>;

type Answer = Result<Settled>;

/// The desks of all namespaces.
#[derive(Default)]
pub(in crate::api) struct Desks(Mutex<HashMap<String, Arc<Desk>>>);

#[derive(Default)]
struct Desk {
    waiting: Mutex<Vec<(Arc<Charge>, oneshot::Sender<Answer>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Desks {
    /// Whether there is no quota at all.
    pub(super) fn are_idle(&self, server: &Server) -> bool {
        let quotas = server.core("resourcequotas");
        quotas.is_none_or(|it| server.store.snapshot(it.resource).objects.is_empty())
    }

    /// Settles a charge against the quotas of a namespace.
    ///
    /// # Errors
    /// When a quota cannot be written.
    pub(super) async fn settle(&self, server: &Server, place: &str, charge: Charge) -> Answer {
        let desk = self.0.lock().entry(place.to_owned()).or_default().clone();
        let charge = Arc::new(charge);
        loop {
            let (answer, mut answered) = oneshot::channel();
            desk.waiting.lock().push((charge.clone(), answer));
            let _turn = desk.turn.lock().await;
            let settled = match answered.try_recv() {
                Err(TryRecvError::Empty) => {
                    desk.settle_waiting(server, place).await;
                    answered.try_recv()
                }
                // Who had the turn before settled this one with its own.
                other => other,
            };
            // Without an answer, who had the turn went away with its client half way through.
            if let Ok(answer) = settled {
                return answer;
            }
        }
    }
}

impl Desk {
    /// Settles for all who still wait.
    async fn settle_waiting(&self, server: &Server, place: &str) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let waiting = waiting
            .into_iter()
            .filter(|(_, answer)| !answer.is_closed());
        let (charges, answers): (Vec<_>, Vec<_>) = waiting.unzip();
        let settled = settle_all(server, place, &charges).await;
        for (answer, settled) in answers.into_iter().zip(settled) {
            // Who has gone away in the meantime made nothing; the next count finds that out.
            let _ = answer.send(settled);
        }
    }
}

/// Charges that a quota holds already, by their place in the batch and its key.
pub(super) type Paid = HashSet<(usize, Arc<str>)>;

async fn settle_all(server: &Server, place: &str, charges: &[Arc<Charge>]) -> Vec<Answer> {
    let mut paid = Paid::new();
    for _ in 0..ATTEMPTS {
        let mut books = Book::all(server, place);
        let settled = enter(&mut books, charges, &paid);
        match write(server, books, &settled, &mut paid).await {
            Ok(()) => return settled.into_iter().map(Ok).collect(),
            Err(WriteError::Conflict { .. } | WriteError::Missing) => {}
            Err(error) => {
                let why = Status::internal(format!("a quota cannot be charged: {error}"));
                return charges.iter().map(|_| Err(why.clone())).collect();
            }
        }
    }
    let busy = Status::unavailable(format!("the quotas of {place} change too fast"));
    charges.iter().map(|_| Err(busy.clone())).collect()
}

/// Enters charges into the books, each into all or none, except where it is paid already.
pub(super) fn enter(books: &mut [Book], charges: &[Arc<Charge>], paid: &Paid) -> Vec<Settled> {
    let enter_one = |(index, charge): (usize, &Arc<Charge>)| {
        let mut entries = Vec::new();
        for (at, book) in books.iter().enumerate() {
            if paid.contains(&(index, book.key.clone())) {
                continue;
            }
            if let Verdict::Used(used) = book.judge(charge)? {
                entries.push((at, used));
            }
        }
        if !charge.dry {
            for (at, used) in entries {
                books[at].write(&used);
            }
        }
        Ok(())
    };
    charges.iter().enumerate().map(enter_one).collect()
}

async fn write(
    server: &Server,
    books: Vec<Book>,
    settled: &[Settled],
    paid: &mut Paid,
) -> std::result::Result<(), WriteError> {
    let Some(target) = server.core("resourcequotas") else {
        return Ok(());
    };
    for book in books.into_iter().filter(|book| book.changed) {
        let draft = server.store.draft(target.resource, &book.quota);
        let change = Change::Update(draft, book.revision);
        let key = book.key.clone();
        server.store.write(target.resource, key, change).await?;
        let taken = settled.iter().enumerate().filter(|(_, it)| it.is_ok());
        paid.extend(taken.map(|(index, _)| (index, book.key.clone())));
    }
    Ok(())
}
