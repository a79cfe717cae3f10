//! Certificates and keys of a test cluster, as PEM files: a certificate authority, the certificate of the API server, client
//! certificates of an administrator and a kubelet, and the key pair that signs ServiceAccount tokens. Each cluster has its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::addresses::{NODE, NODE_NAME, SERVICE};

/// The files, and the certificate of the authority as text.
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    pub(crate) ca_pem: String,
    pub(crate) ca: PathBuf,
    pub(crate) server: Identity,
    pub(crate) admin: Identity,
    /// Credentials of the kubelet.
    pub(crate) node: Identity,
    /// The private key that signs ServiceAccount tokens, and the public key that verifies them.
    pub(crate) service_account: Identity,
}

/// A certificate (or bare public key) and its private key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) public: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// Creates all files in `dir`.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let authority = Authority::create("sidewatch test cluster")?;

        let signer = KeyPair::generate()?;
        Ok(Self {
            ca_pem: authority.0.pem(),
            ca: authority.write_certificate(dir, "ca")?,
            server: authority.server(dir, "server")?,
            // bound to cluster-admin by default
            admin: authority.client(dir, "admin", "system:masters", "admin")?,
            node: authority.client(dir, "node", "system:nodes", &format!("system:node:{NODE_NAME}"))?,
            service_account: Identity {
                public: write(dir, "service-account.pub", &signer.public_key_pem())?,
                key: write(dir, "service-account.key", &signer.serialize_pem())?,
            },
        })
    }
}

/// A certificate authority. Its key is not written to disk.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn create(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Writes the certificate that clients must trust.
    pub(crate) fn write_certificate(&self, dir: &Path, name: &str) -> Result<PathBuf> {
        write(dir, &format!("{name}.crt"), &self.0.pem())
    }

    /// Creates a client certificate: the organisation is the group of the user.
    fn client(&self, dir: &Path, file: &str, group: &str, user: &str) -> Result<Identity> {
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::OrganizationName, group);
        client.distinguished_name.push(DnType::CommonName, user);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.signed(dir, file, &client)
    }

    /// Creates a certificate of an API server, for the addresses that clients use: loopback, the node, and the name and
    /// address of the Service.
    pub(crate) fn server(&self, dir: &Path, name: &str) -> Result<Identity> {
        let mut names = ["127.0.0.1", "localhost", "kubernetes.default.svc"]
            .map(String::from)
            .to_vec();
        names.extend([SERVICE, NODE].map(|address| address.to_string()));
        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.signed(dir, name, &server)
    }

    fn signed(&self, dir: &Path, name: &str, params: &CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Identity {
            public: write(dir, &format!("{name}.crt"), &certificate.pem())?,
            key: write(dir, &format!("{name}.key"), &key.serialize_pem())?,
        })
    }
}

fn write(dir: &Path, name: &str, content: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
