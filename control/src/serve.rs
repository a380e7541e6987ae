//! `naru-control serve`: puts the parts together and runs them until a signal.

mod audit;
mod etcd;
mod fairness;
mod files;
mod oidc;

pub(crate) use etcd::EtcdArgs;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use naru_control::api::{
    AddressPlan, Api, Exemptions, FRONT_PROXY, FrontProxy, Internal, Kinds, Listener, NodeClient,
    STACK, Server, ServerConfig, StaticTokens, Tokens, bootstrap, expire_events,
    follow_definitions, follow_priorities, follow_services, keep,
};
use naru_control::controllers;
use naru_control::pki::{
    AUTHORITY_LIFE, Authority, KubeconfigSpec, LEAF_LIFE, Rotation, Subject,
    write_signed_kubeconfig,
};
use naru_control::registry::KINDS;
use naru_control::store::{Encryption, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Settings of the control plane.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Directory of the store, the authority and the administrator's kubeconfig.
    #[arg(long)]
    data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0:6443")]
    listen: SocketAddr,
    /// Address under which nodes and pods reach this server.
    #[arg(long)]
    advertise_address: IpAddr,
    /// Further names or addresses in the server's certificate.
    #[arg(long = "san")]
    sans: Vec<String>,
    /// Range that nodes get their pod ranges from; two, separated by a comma, for both families.
    #[arg(long, value_delimiter = ',', default_value = "10.244.0.0/16")]
    pod_cidr: Vec<controllers::Range>,
    /// Range of cluster addresses; two for both families. Services that ask for no family get the
    /// first one's.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/12")]
    service_cidr: Vec<String>,
    /// Range of node ports.
    #[arg(long, default_value = "30000-32767")]
    node_port_range: String,
    /// File of static bearer tokens: token,user,uid,"group1,group2".
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Whether Secrets of type bootstrap.kubernetes.io/token in kube-system let new nodes in.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    enable_bootstrap_token_auth: bool,
    /// What the Pod Security Standards are not asked of: namespace=NAME, user=NAME or
    /// runtime-class=NAME.
    #[arg(long = "pod-security-exempt", value_parser = exemption)]
    exemptions: Vec<String>,
    /// Seconds of silence after which a node counts as unreachable.
    #[arg(long, default_value_t = 40)]
    node_grace_seconds: u64,
    /// How long an event is kept after its last write, such as 1h0m0s; 0s: for ever.
    #[arg(long, default_value = "1h0m0s", value_parser = audit::duration)]
    event_ttl: Duration,
    /// File with an EncryptionConfiguration of apiserver.config.k8s.io/v1: what is encrypted in the
    /// store, and by which keys.
    #[arg(long)]
    encryption_provider_config: Option<PathBuf>,
    #[command(flatten)]
    etcd: etcd::EtcdArgs,
    #[command(flatten)]
    audit: audit::AuditArgs,
    #[command(flatten)]
    fairness: fairness::FairnessArgs,
    #[command(flatten)]
    oidc: oidc::OidcArgs,
    /// Seconds that the server's own certificates are valid, at most as long as their authority; at
    /// two thirds they are replaced.
    #[arg(long, default_value_t = LEAF_LIFE.as_secs(), value_parser = clap::value_parser!(u64).range(3..=AUTHORITY_LIFE.as_secs()))]
    certificate_seconds: u64,
}

fn exemption(text: &str) -> Result<String, String> {
    Exemptions::default().add(text).map(|()| text.to_owned())
}

impl ServeArgs {
    fn exempt(&self) -> Exemptions {
        let mut exempt = Exemptions::default();
        for text in &self.exemptions {
            // Each was tried when the arguments were read.
            let _ = exempt.add(text);
        }
        exempt
    }

    fn encryption(&self, kinds: &Kinds) -> anyhow::Result<Encryption> {
        let Some(path) = &self.encryption_provider_config else {
            return Ok(Encryption::default());
        };
        Encryption::read(path, &kinds.resources())
            .with_context(|| format!("encryption configuration {}", path.display()))
    }

    fn node_grace(&self) -> Duration {
        Duration::from_secs(self.node_grace_seconds)
    }
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    naru_core::start("naru-control");
    files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK)
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let plan = AddressPlan::parse(&args.service_cidr, &args.node_port_range)?;
    controllers::range::of_cluster(&args.pod_cidr).map_err(anyhow::Error::msg)?;
    let audit = args.audit.open()?;
    let fairness = args.fairness.open()?;
    let oidc = args.oidc.open()?.map(Arc::new);
    let pki = args.data_dir.join("pki");
    std::fs::create_dir_all(&args.data_dir)
        .with_context(|| format!("cannot create {}", args.data_dir.display()))?;
    let authority = Arc::new(Authority::open(&pki)?);
    let life = Duration::from_secs(args.certificate_seconds);
    let mut rotation = Rotation::new(authority.clone(), life);
    let shown = rotation.rotating(serving_subject(&args, &plan))?;
    let nodes = node_client(&mut rotation, &authority)?;
    let (front, front_rotation) = front_proxy(&pki, life)?;
    let fronts = front.authority.clone();
    let stopping = CancellationToken::new();
    let store = open_store(&args).await?;
    let server = server(&args, store, plan, &authority, nodes, &stopping)?;
    let server = server.audited(audit).believing(oidc.clone());
    let server = Arc::new(server.divided(fairness).fronted(front));
    let api = Api::new(server.clone());
    bootstrap(&api, &server)
        .await
        .context("cannot create the cluster's own objects")?;
    if args.advertise_address.is_loopback() {
        tracing::warn!(address = %args.advertise_address, "pods cannot reach the server");
    }
    let listener = Listener::bind(args.listen, shown, authority.certificate(), &fronts).await?;
    let bound = listener.local_address()?;
    keep_admin(&args, &mut rotation, &authority, bound)?;
    tracing::info!(address = %listener.local_address()?, "serving");
    let mut clients = start_clients(&args, &api, &server, &authority, &stopping);
    clients.spawn(keep(api.clone(), server.clone(), stopping.clone()));
    clients.spawn(follow_definitions(server.clone(), stopping.clone()));
    clients.spawn(follow_services(server.clone(), stopping.clone()));
    clients.spawn(follow_priorities(server.clone(), stopping.clone()));
    if let Some(oidc) = oidc {
        clients.spawn(oidc.follow(stopping.clone()));
    }
    clients.spawn(rotation.run(stopping.clone()));
    clients.spawn(front_rotation.run(stopping.clone()));
    let serving = listener.serve(api, stopping.clone());
    wait_for_signal().await?;
    tracing::info!("stopping");
    stopping.cancel();
    serving.await?;
    clients.join_all().await;
    Ok(())
}

/// The store in etcd or, without that, in a file of this server.
async fn open_store(args: &ServeArgs) -> anyhow::Result<Store> {
    let kinds = Kinds(KINDS);
    let encryption = args.encryption(&kinds)?;
    if let Some(config) = args.etcd.config()? {
        let store = Store::open_etcd(&config, &kinds.resources(), encryption).await;
        let servers = config.cluster.servers.join(",");
        return store.with_context(|| format!("cannot open the store in etcd at {servers}"));
    }
    let path = args.data_dir.join("store.redb");
    let store = Store::open_encrypted(&path, &kinds.resources(), encryption);
    store.with_context(|| format!("cannot open the store {}", path.display()))
}

fn server(
    args: &ServeArgs,
    store: Store,
    plan: AddressPlan,
    authority: &Authority,
    nodes: NodeClient,
    stopping: &CancellationToken,
) -> anyhow::Result<Server> {
    let kinds = Kinds(KINDS);
    let tokens = Tokens::open(&args.data_dir.join("pki/sa.key"))?;
    let static_tokens = match &args.token_file {
        None => StaticTokens::default(),
        Some(path) => {
            StaticTokens::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
    };
    let config = ServerConfig {
        advertise_address: args.advertise_address,
        advertise_port: args.listen.port(),
        plan,
        authority: authority.certificate().to_owned(),
        bootstrap_tokens: args.enable_bootstrap_token_auth,
        exempt: args.exempt(),
    };
    Ok(Server::new(
        store,
        kinds,
        tokens,
        static_tokens,
        nodes,
        config,
        stopping.clone(),
    ))
}

/// The client with which the server calls nodes.
fn node_client(rotation: &mut Rotation, authority: &Authority) -> anyhow::Result<NodeClient> {
    let shown = rotation.rotating(Subject {
        user: "kube-apiserver-kubelet-client".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..Subject::default()
    })?;
    Ok(NodeClient::new(shown, authority.certificate())?)
}

/// As whom other servers are asked: an identity of an authority of its own, since whoever has it may
/// say that he is anybody.
fn front_proxy(pki: &Path, life: Duration) -> anyhow::Result<(FrontProxy, Rotation)> {
    let authority = Arc::new(Authority::open(&pki.join("front-proxy"))?);
    let mut rotation = Rotation::new(authority.clone(), life);
    let shown = rotation.rotating(Subject {
        user: FRONT_PROXY.to_owned(),
        ..Subject::default()
    })?;
    let front = FrontProxy {
        authority: authority.certificate().to_owned(),
        shown,
    };
    Ok((front, rotation))
}

/// Starts the controllers and the scheduler as clients inside the process, and what removes old
/// events beside them: of several servers one does all of it.
fn start_clients(
    args: &ServeArgs,
    api: &Api,
    server: &Arc<Server>,
    authority: &Arc<Authority>,
    stopping: &CancellationToken,
) -> JoinSet<()> {
    let client = |user: &str| {
        kube::Client::new(
            Internal::new(api.clone(), user, &["system:authenticated"]),
            "default",
        )
    };
    let config = controllers::Config {
        pod_cidrs: args.pod_cidr.clone(),
        node_mask: naru_core::names::defaults::NODE_POD_PREFIX,
        node_grace: args.node_grace(),
        authority: authority.clone(),
    };
    let mut clients = JoinSet::new();
    let (manager, scheduler) = (
        client("system:kube-controller-manager"),
        client("system:kube-scheduler"),
    );
    let (server, event_ttl) = (server.clone(), args.event_ttl);
    let work = move |token: CancellationToken| {
        let expiring = expire_events(server.clone(), event_ttl, token.clone());
        let running = controllers::run(manager.clone(), scheduler.clone(), config.clone(), token);
        async move {
            tokio::join!(running, expiring);
        }
    };
    if args.etcd.is_used() {
        let leader = client("system:kube-controller-manager");
        let identity = format!("{}_{}", args.advertise_address, uuid::Uuid::new_v4());
        clients.spawn(controllers::election::lead(
            leader,
            identity,
            stopping.clone(),
            work,
        ));
    } else {
        clients.spawn(work(stopping.clone()));
    }
    clients
}

/// The names and addresses by which clients know this server.
fn serving_subject(args: &ServeArgs, plan: &AddressPlan) -> Subject {
    let mut subject = Subject {
        user: "naru-apiserver".into(),
        ..Subject::default()
    };
    let service = "kubernetes.default.svc.cluster.local";
    let dots = service
        .match_indices('.')
        .map(|(index, _)| &service[..index]);
    subject.names.extend(dots.map(str::to_owned));
    subject
        .names
        .extend([service.to_owned(), "localhost".to_owned()]);
    subject.addresses.extend([
        args.advertise_address,
        plan.nth(1),
        IpAddr::from([127, 0, 0, 1]),
    ]);
    for san in &args.sans {
        match san.parse() {
            Ok(address) => subject.addresses.push(address),
            Err(_) => subject.names.push(san.clone()),
        }
    }
    subject
}

/// Writes the administrator's kubeconfig, new at every start and with every renewal.
fn keep_admin(
    args: &ServeArgs,
    rotation: &mut Rotation,
    authority: &Arc<Authority>,
    bound: SocketAddr,
) -> anyhow::Result<()> {
    let address = SocketAddr::new(args.advertise_address, bound.port());
    let (server, out) = (
        format!("https://{address}"),
        args.data_dir.join("admin.kubeconfig"),
    );
    let subject = Subject {
        user: "admin".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..Subject::default()
    };
    let authority = authority.clone();
    Ok(rotation.install(subject, move |leaf| {
        let spec = KubeconfigSpec {
            server: &server,
            user: "admin",
        };
        write_signed_kubeconfig(&authority, &spec, leaf, &out)
    })?)
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
