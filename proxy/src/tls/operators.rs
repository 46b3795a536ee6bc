//! TLS for whoever changes something here from another machine: the certificates that agents are shown, and a demand for
//! one in return.

use std::sync::Arc;

use rustls::ServerConfig;
use stagedoor_config::trust::OperatorVerifier;

use super::{Agents, NoTls, Shown, server};

impl Agents {
    /// For `admin.tls`: who comes is judged as an agent is, and nobody comes without a certificate.
    ///
    /// # Errors
    /// The TLS library's own.
    pub fn operators(&self) -> Result<Arc<ServerConfig>, NoTls> {
        let verifier = Arc::new(OperatorVerifier(Arc::clone(&self.verifier)));
        server(verifier, Shown(self.shown.to_vec()))
    }
}
