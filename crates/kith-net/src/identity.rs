//! Who a process is on the network.

use std::fs;
use std::path::Path;

use libp2p::PeerId;
use libp2p::identity::Keypair;

use crate::NetError;

/// A secret key. The peer id follows from it and is what others list.
#[derive(Clone)]
pub struct Identity(pub(crate) Keypair);

impl Identity {
    /// A new one, from the system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// Reads a file that [`Identity::write`] wrote.
    ///
    /// # Errors
    /// A file that cannot be read or holds no key.
    pub fn read(path: &Path) -> Result<Self, NetError> {
        let shown = path.display().to_string();
        let bytes =
            fs::read(path).map_err(|source| NetError::File { operation: "read", path: shown.clone(), source })?;
        let key = Keypair::from_protobuf_encoding(&bytes).map_err(|error| NetError::Value {
            what: "identity",
            found: shown,
            reason: error.to_string(),
            accepted: "a file that `kith identity new` wrote",
        })?;
        Ok(Self(key))
    }

    /// Writes the key to a new file that only its owner can read.
    ///
    /// # Errors
    /// A file that is there already or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), NetError> {
        use std::io::Write as _;
        let failed = |source| NetError::File { operation: "write", path: path.display().to_string(), source };
        let bytes = self.0.to_protobuf_encoding().map_err(|error| failed(std::io::Error::other(error)))?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).and_then(|mut file| file.write_all(&bytes)).map_err(failed)
    }

    /// The peer id.
    #[must_use]
    pub fn peer_id(&self) -> String {
        PeerId::from(self.0.public()).to_string()
    }
}
