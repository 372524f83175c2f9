//! Pieces of an answer's body.

use axum::http::HeaderMap;
use bytes::Bytes;
use hyper::body::Frame;
use tonic::Status;

/// The end of an answer.
pub(crate) fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

/// Bytes that hold something until they are sent.
pub(crate) fn counted<Hold: Send + 'static>(hold: Hold, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
    struct Counted<Hold, Data>(#[allow(dead_code)] Hold, Data);
    impl<Hold, Data: AsRef<[u8]>> AsRef<[u8]> for Counted<Hold, Data> {
        fn as_ref(&self) -> &[u8] {
            self.1.as_ref()
        }
    }
    Bytes::from_owner(Counted(hold, bytes))
}
