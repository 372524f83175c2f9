//! A Rust client: endpoints, retries and typed errors.
