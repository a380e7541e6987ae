//! Rules for values that several kinds share, and the cursor with which they are written.
//!
//! A rule takes a place in the object ([`At`]) and adds what is wrong there to [`Faults`]. Every
//! rule accepts absence unless it says `required`; wrong types are the schema's business and read as
//! absent here.

mod at;
mod client;
mod faults;
mod labels;
mod names;
mod values;

pub(crate) use at::At;
pub(crate) use client::client_config;
pub(crate) use faults::Faults;
pub(crate) use labels::{label_map, matches, selector};
pub(crate) use names::{
    LABEL, QUALIFIED, SEGMENT, SERVICE, SUBDOMAIN, dns_label, dns_subdomain, is_dns_label,
    is_dns_subdomain, is_label_value, is_path_segment, is_port_name, is_qualified_name,
    is_service_label, qualified_name, service_label,
};
pub(crate) use values::{
    cidr, fraction_or_count, immutable, ip, non_negative, one_of, port_number, port_or_name, range,
    required, required_one_of, unique,
};
