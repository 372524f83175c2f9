//! Commands as bytes: one byte of format version, then postcard.

use bytes::Bytes;

use super::command::{Command, KvError};
use super::decoding::Shared;
use super::session::facts::InSession;

/// The format that this program writes.
const FORMAT_VERSION: u8 = 1;
/// The first byte of a command in a session.
const IN_SESSION: u8 = 2;
/// The byte behind the version that says that the command is a put.
const PUT: u8 = 0;
/// More than a command's place in a session takes.
const IN_SESSION_OVERHEAD_BYTES: usize = 32;
/// More than a put takes beside its key and its value.
const PUT_OVERHEAD_BYTES: usize = 32;

impl InSession {
    /// Splits the bytes of an entry of the log into the command's place in a session, if it is in one, and the command.
    /// Nothing of the command itself is looked at.
    ///
    /// # Errors
    /// [`KvError::UnknownCommand`] if the place can't be read.
    pub fn split(bytes: &Bytes) -> Result<(Option<Self>, Bytes), KvError> {
        let Some((&IN_SESSION, rest)) = bytes.split_first() else { return Ok((None, bytes.clone())) };
        match postcard::take_from_bytes(rest) {
            Ok((place, command)) => Ok((Some(place), bytes.slice_ref(command))),
            Err(error) => Err(KvError::UnknownCommand(format!("its place in a session: {error}"))),
        }
    }

    /// The bytes for the log of a command in this place of its session.
    #[must_use]
    pub fn encode(&self, command: &Command) -> Bytes {
        let mut bytes = Vec::with_capacity(command.size_hint() + IN_SESSION_OVERHEAD_BYTES);
        bytes.push(IN_SESSION);
        let bytes = postcard::to_extend(self, bytes).expect("three numbers, and a vector takes all of them");
        command.encode_behind(bytes)
    }
}

impl Command {
    /// The bytes for the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.encode_behind(Vec::with_capacity(self.size_hint()))
    }

    fn encode_behind(&self, mut bytes: Vec<u8>) -> Bytes {
        bytes.push(FORMAT_VERSION);
        postcard::to_extend(self, bytes).expect("a command is plain data and a vector takes all of it").into()
    }

    /// Enough for a put, so that its buffer is made once.
    fn size_hint(&self) -> usize {
        if let Self::Put(put) = self { put.key.len() + put.value.len() + PUT_OVERHEAD_BYTES } else { 0 }
    }

    /// Reads what [`encode`](Self::encode) wrote. The bytes may come from another version of the program or
    /// from a broken peer: nothing is trusted, and no more memory is taken than the bytes account for.
    ///
    /// The key and the value of a put are parts of `bytes`, and keep them in memory.
    ///
    /// # Errors
    /// [`KvError::UnknownCommand`].
    pub fn decode(bytes: &Bytes) -> Result<Self, KvError> {
        let body = match bytes.split_first() {
            Some((&FORMAT_VERSION, body)) => body,
            Some((version, _)) => {
                return Err(KvError::UnknownCommand(format!("format version {version} is not known")));
            }
            None => return Err(KvError::UnknownCommand("it is empty".into())),
        };
        // Only of a put: of a transaction, one value that lasts would keep all others in memory.
        let _shared = Shared::lend((body.first() == Some(&PUT)).then_some(bytes));
        match postcard::take_from_bytes(body) {
            Ok((command, [])) => Ok(command),
            Ok((_, rest)) => Err(KvError::UnknownCommand(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(KvError::UnknownCommand(error.to_string())),
        }
    }
}
