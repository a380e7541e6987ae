//! Process start-up: what every daemon and tool does before anything else.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Installs the crypto provider and the log subscriber, and logs that `name` starts.
///
/// Logs go to standard error, filtered by `RUST_LOG` (default `info`), coloured on a terminal only.
/// Calling it twice is harmless: what is already installed stays.
pub fn start(name: &'static str) {
    let installed = rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_ok();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    let logging = subscriber.try_init().is_ok();
    if installed && logging {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            "{name} starts"
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn starting_twice_keeps_one_provider() {
        super::start("test");
        super::start("test");
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
