//! What every protocol has in common that carries etcd's messages of keys and values.
//!
//! etcd's own API carries them, and the native protocol does too. So what they mean belongs to neither: they are
//! [checked](validate) and [converted](convert) here, from the wire to the service's types and back ([`asked`] does
//! both). Nothing here asks the service anything; which error a client is told is each protocol's own affair.

pub(crate) mod asked;
pub(crate) mod busy;
pub(crate) mod convert;
pub(crate) mod pieces;
mod validate;
