//! Several instances behind one port, and a key that kills the one that runs the session.

use std::{error::Error, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tautan::{
    auth::{KeySource, Minter, Secret, Settings},
    clock,
    tenant::TenantId,
};
use tautan_simulator::Simulator;
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;

use crate::{
    balancer::Balancer,
    fleet::{Fleet, News},
    keys::{self, Pressed},
    phone::DemoPhone,
    sign_in, watch,
};

const TENANT: &str = "toko-sari";
const KEYS: &str = "\x20 s  scan the QR code with the phone
  k  kill -9 the instance that runs the session (another one is started in its place)
  u  unlink the device on the phone
  l  lose the connection to WhatsApp for ten seconds
  q  quit";

/// The killed instance and the time, until another instance runs its session.
struct Killed {
    instance: usize,
    at: Instant,
}

pub async fn run(instances: usize) -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start().await?;
    let secret = BASE64_STANDARD.encode(rand::random::<[u8; 32]>());
    let balanced = match TcpListener::bind(crate::DOCUMENTED_ADDRESS).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(crate::ANY_PORT).await?,
    };
    let login = TcpListener::bind(crate::ANY_PORT).await?;
    let base = format!("http://{}", balanced.local_addr()?);
    let sign_in_url = format!("http://{}/sign-in", login.local_addr()?);
    let environment = [
        ("TAUTAN_WHATSAPP_URL", simulator.url()),
        ("TAUTAN_ENCRYPTION_KEY", BASE64_STANDARD.encode(rand::random::<[u8; 32]>())),
        ("TAUTAN_LOGIN_URL", sign_in_url.clone()),
        ("JWT_SECRET", secret.clone()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let (sender, mut news) = mpsc::channel(64);
    let mut fleet = Fleet::start(instances, environment, sender).await?;
    let balancer = Balancer::default();
    for _ in 0..instances {
        match news.recv().await.ok_or("no instance is left")? {
            News::Listens { instance, address } => balancer.set(instance, Some(address)),
            News::Runs { .. } => {}
        }
    }
    let keys = vec![KeySource::Secret(Secret::new(secret.as_str()))];
    let minter = Minter::new(&Settings { keys, ..Settings::default() }).ok_or("no secret to sign with")?;
    let token = minter.mint(&TenantId::parse(TENANT)?, clock::system().now(), Duration::from_secs(24 * 3600));
    let phone = DemoPhone::new(simulator.phone("6281234567890", "Toko Sari"), base.clone(), &token);

    println!(
        "\nTautan, {instances} instances on one Redis, beside a WhatsApp simulator. Open this link in a browser:\n"
    );
    println!("    {sign_in_url}\n");
    println!("Press \"Hubungkan WhatsApp\" there, and type a letter and Enter here:\n\n{KEYS}\n");
    let tasks = TaskTracker::new();
    let watching = tasks.spawn(watch::print_the_stream(phone.clone()));
    let page = format!("{base}/dashboard/settings/whatsapp");
    let serving = [tasks.spawn(balancer.clone().serve(balanced)), tasks.spawn(sign_in::serve(login, token, page))];

    let (mut keyboard, mut owner, mut killed) = (keys::keyboard(), None, None::<Killed>);
    let mut up = vec![true; instances];
    loop {
        tokio::select! {
            pressed = keys::next(&mut keyboard) => match pressed {
                Pressed::Key(key) if key == "k" => match owner.take() {
                    Some(instance) => {
                        balancer.set(instance, None);
                        up[instance] = false;
                        let pid = fleet.pid(instance);
                        killed = Some(Killed { instance, at: Instant::now() });
                        fleet.kill(instance).await?;
                        println!("fleet: instance {instance} (process {}) was killed", pid.unwrap_or_default());
                        fleet.start_again(instance)?;
                    }
                    None => println!("fleet: no instance runs the session: press the button on the page first"),
                },
                Pressed::Key(key) => keys::act(&key, &phone, &simulator, KEYS).await,
                Pressed::Quit => break,
            },
            next = news.recv() => match next.ok_or("no instance is left")? {
                News::Listens { instance, address } => {
                    balancer.set(instance, Some(address));
                    up[instance] = true;
                    println!("fleet: instance {instance} (process {}) listens", fleet.pid(instance).unwrap_or_default());
                }
                // The last log lines of a killed instance come late.
                News::Runs { instance, .. } if !up[instance] => {}
                News::Runs { instance, what } => {
                    if owner != Some(instance) {
                        println!("fleet: instance {instance} runs the session ({what})");
                    }
                    if let Some(Killed { instance: dead, at }) = killed.take_if(|_| owner.is_none()) {
                        let took = at.elapsed().as_secs_f64();
                        println!("fleet: taken over from instance {dead} {took:.1} s after its end");
                    }
                    owner = Some(instance);
                }
            },
        }
    }
    watching.abort();
    serving.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}
