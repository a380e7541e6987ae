//! The members of an etcd cluster, of which one is asked at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::ConfigError;

/// A member that does not take a connection within this is passed over.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection that is waited on and over which nothing comes is asked for a sign of life after this
/// (etcd takes less than five seconds, or asking without need, for an attack),
const KEEP_ALIVE: Duration = Duration::from_secs(6);
/// and given up without one within this: a member that vanished sends no reset.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);

/// Where the cluster is and how to speak with it.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// URLs of the members' client addresses, `http://` or `https://`.
    pub servers: Vec<String>,
    /// Authority of the members' certificates, PEM; the system's otherwise.
    pub authority: Option<Vec<u8>>,
    /// Certificate and key by which members know this client, PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Connections to all members, made when first used and again after they break.
#[derive(Debug)]
pub(crate) struct Members {
    channels: Vec<Channel>,
    /// The one that answered last.
    current: AtomicUsize,
}

impl Members {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        if config.servers.is_empty() {
            return Err(ConfigError::Nobody);
        }
        let channels = config.servers.iter().map(|url| channel(config, url));
        Ok(Self {
            channels: channels.collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.channels.len()
    }

    /// The member to ask, with the number by which to complain about it.
    pub(crate) fn current(&self) -> (usize, Channel) {
        let number = self.current.load(Ordering::Relaxed);
        (number, self.channels[number % self.channels.len()].clone())
    }

    /// Turns away from a member, unless somebody else did already.
    pub(crate) fn leave(&self, number: usize) {
        let next = number.wrapping_add(1);
        let _ = self
            .current
            .compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn channel(config: &Config, url: &str) -> Result<Channel, ConfigError> {
    let failed = |source| ConfigError::Member {
        url: url.to_owned(),
        source,
    };
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(failed)?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(ALIVE_WITHIN);
    if url.starts_with("https://") {
        endpoint = endpoint.tls_config(tls(config)).map_err(failed)?;
    }
    Ok(endpoint.connect_lazy())
}

fn tls(config: &Config) -> ClientTlsConfig {
    let mut tls = ClientTlsConfig::new();
    if let Some(authority) = &config.authority {
        tls = tls.ca_certificate(Certificate::from_pem(authority));
    }
    if let Some((certificate, key)) = &config.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    tls
}
