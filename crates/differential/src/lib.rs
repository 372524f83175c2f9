//! The same random requests to etcd and to three nodes of ours, compared field by field.
//!
//! A seed is a [`program`]: puts, ranges, transactions, leases, compactions and watches with every option and odd
//! bounds ([`mod@generate`]). Two [`player`]s do each step at the same time, one on a single etcd, the other on three
//! nodes in turn, and every field of both answers must be the same ([`comparison`]), with the revision in each header
//! and the texts of errors. What comes on watch streams is compared by watch: which changes came in one response is
//! free, everything else is not. What is meant to differ is listed ([`announced`]). A difference that is not becomes
//! as small as it can ([`shrink`]), and is told with the command that shows it again ([`campaign`]).
//!
//! What this crate does not do: it never judges who is right. etcd is, unless a difference is announced. And it plays one
//! request after the other on systems that are well: what requests at the same time or faults do is for the
//! simulator and the chaos harness.

pub mod announced;
pub mod campaign;
mod chance;
pub mod comparison;
pub mod difference;
pub mod fields;
pub mod generate;
pub mod pair;
pub mod player;
pub mod program;
pub mod shrink;
pub mod symbols;
pub mod system;
