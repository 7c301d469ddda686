//! Certificates for tests, made by the `openssl` program: one authority, leaves of any shape.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Context, Failure, Result};

/// A certificate authority in a folder.
#[derive(Debug, Clone)]
pub struct Authority {
    folder: PathBuf,
}

/// The files of one certificate.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority with this common name.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).context(|| format!("make {}", folder.display()))?;
        let authority = Self { folder: folder.into() };
        openssl(
            folder,
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-keyout",
                "ca.key",
                "-out",
                "ca.crt",
                "-subj",
                &format!("/CN={name}"),
                "-days",
                "30",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
            ],
        )?;
        Ok(authority)
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Issues a certificate. `subject` is as in `/O=group/CN=name`; `names` as in `DNS:localhost,IP:127.0.0.1`,
    /// empty for a certificate without subject alternative names.
    pub fn issue(&self, file: &str, subject: &str, names: &str) -> Result<Leaf> {
        let [key, request, certificate, extensions] =
            ["key", "csr", "crt", "ext"].map(|suffix| format!("{file}.{suffix}"));
        let usage = "extendedKeyUsage=serverAuth,clientAuth\n";
        let text = match names {
            "" => usage.to_owned(),
            names => format!("{usage}subjectAltName={names}\n"),
        };
        std::fs::write(self.folder.join(&extensions), text).context(|| "write the extensions")?;
        openssl(
            &self.folder,
            &[
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-keyout",
                &key,
                "-out",
                &request,
                "-subj",
                subject,
            ],
        )?;
        openssl(
            &self.folder,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "30",
                "-out",
                &certificate,
                "-extfile",
                &extensions,
            ],
        )?;
        Ok(Leaf { certificate: self.folder.join(certificate), key: self.folder.join(key) })
    }
}

/// Makes an RSA key pair `<file>.key`, `<file>.pub` for signing service account tokens.
pub fn signing_key(folder: &Path, file: &str) -> Result<()> {
    let (key, public) = (format!("{file}.key"), format!("{file}.pub"));
    openssl(folder, &["genrsa", "-out", &key, "2048"])?;
    openssl(folder, &["rsa", "-in", &key, "-pubout", "-out", &public])
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context(|| "run openssl (install it with: sudo apt-get install openssl)")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "openssl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    )))
}
