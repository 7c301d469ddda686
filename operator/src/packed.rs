//! What is kept of thousands of objects from one look at them to the next: their JSON, by what it differs in from a
//! typical one.
//!
//! Ten thousand streams are much the same. Decoded, a healthy one takes 9 KB of memory, and 4 as JSON; packed by a
//! dictionary of what most say it is some hundred bytes (`what_is_as_usual_takes_some_hundred_bytes`). An object that
//! is like no other only takes more.

use std::{
    fmt, io,
    marker::PhantomData,
    sync::{LazyLock, Mutex, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use zstd::bulk::{Compressor, Decompressor};

/// A stream, and a worker's answer, as most are.
const TYPICAL: &str = include_str!("packed/typical.json");
/// The fastest: the dictionary does the work.
const LEVEL: i32 = 1;

/// A `T` that is read again when somebody looks at it.
pub struct Packed<T> {
    bytes: Box<[u8]>,
    form: Form,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// Packed, so many bytes before.
    Packed(u32),
    /// As it is, because it could not be packed.
    Plain,
}

/// Why something that was packed cannot be read again.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bytes.
    #[error("unpack what was kept: {0}")]
    Unpack(#[from] io::Error),
    /// The JSON in them.
    #[error(transparent)]
    Read(#[from] serde_json::Error),
}

impl<T: DeserializeOwned> Packed<T> {
    /// Packs what a `T` can be read from.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_vec(value)?;
        let packed = u32::try_from(text.len())
            .ok()
            .zip(PACKER.as_ref())
            .and_then(|(length, packer)| Some((Form::Packed(length), packer.pack(&text).ok()?)));
        let (form, bytes) = packed.unwrap_or((Form::Plain, text));
        Ok(Self { bytes: bytes.into(), form, of: PhantomData })
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the JSON is that of no `T`.
    pub fn open(&self) -> Result<T, OpenError> {
        match (self.form, &*PACKER) {
            (Form::Packed(length), Some(packer)) => {
                Ok(serde_json::from_slice(&packer.unpack(&self.bytes, length as usize)?)?)
            }
            _ => Ok(serde_json::from_slice(&self.bytes)?),
        }
    }
}

impl<T> Clone for Packed<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), form: self.form, of: PhantomData }
    }
}

impl<T> fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {:?}", self.bytes.len(), self.form)
    }
}

/// One for all, since it holds more than a thousand of what it packs.
static PACKER: LazyLock<Option<Packer>> = LazyLock::new(|| Packer::new().ok());

struct Packer {
    compressor: Mutex<Compressor<'static>>,
    decompressor: Mutex<Decompressor<'static>>,
}

impl Packer {
    fn new() -> io::Result<Self> {
        let dictionary = typical()?;
        Ok(Self {
            compressor: Mutex::new(Compressor::with_dictionary(LEVEL, &dictionary)?),
            decompressor: Mutex::new(Decompressor::with_dictionary(&dictionary)?),
        })
    }

    fn pack(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        self.compressor.lock().unwrap_or_else(PoisonError::into_inner).compress(text)
    }

    fn unpack(&self, bytes: &[u8], length: usize) -> io::Result<Vec<u8>> {
        let mut decompressor = self.decompressor.lock().unwrap_or_else(PoisonError::into_inner);
        decompressor.decompress(bytes, length)
    }
}

/// The dictionary, without blanks, as what is packed has none.
fn typical() -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&serde_json::from_str::<Value>(TYPICAL)?)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A stream and a worker's answer as most are.
    pub(crate) fn usual() -> (Value, Value) {
        let mut all: Value = serde_json::from_str(TYPICAL).unwrap();
        (all["stream"].take(), all["answer"].take())
    }

    #[test]
    fn what_is_as_usual_takes_some_hundred_bytes() {
        let (mut stream, mut answer) = usual();
        stream["metadata"]["uid"] = json!("0b5f6d3c-1f2e-4a9b-8c7d-6e5f4a3b2c1d");
        stream["status"]["position"]["offset"] = json!(987_654_321);
        answer["durable"]["offset"] = json!(987_654_321);
        for value in [stream, answer] {
            let packed = Packed::<Value>::of(&value).unwrap();
            assert!(packed.bytes.len() < 200, "{packed:?}");
            assert_eq!(packed.open().unwrap(), value);
        }
    }

    #[test]
    fn what_is_like_nothing_usual_is_kept_all_the_same() {
        let strange = json!({"a": "ü".repeat(10_000), "b": [1.5, null, {}]});
        assert_eq!(Packed::<Value>::of(&strange).unwrap().open().unwrap(), strange);
        let wrong = Packed::<Vec<u32>>::of(&strange).unwrap().open();
        assert!(matches!(wrong, Err(OpenError::Read(_))), "{wrong:?}");
    }
}
