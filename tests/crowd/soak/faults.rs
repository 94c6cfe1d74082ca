//! The faults, one after the other.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use tautan_simulator::{Fault, Refusal};
use tokio::time::sleep;

use super::Soak;

const PROTOCOL: [Fault; 8] = [
    Fault::CorruptHmac,
    Fault::CorruptSignature,
    Fault::SilentSocket,
    Fault::SilentLogin,
    Fault::SilentSession,
    Fault::SilentPairing,
    Fault::Garbage,
    Fault::RefuseIk,
];

pub struct Faults {
    random: StdRng,
    may_restart: bool,
    struck: BTreeMap<&'static str, u32>,
}

impl Faults {
    pub fn new(random: StdRng, may_restart: bool) -> Self {
        Self { random, may_restart, struck: BTreeMap::new() }
    }

    pub fn summary(&self) -> String {
        let struck: Vec<String> = self.struck.iter().map(|(name, times)| format!("{name} {times}")).collect();
        struck.join(", ")
    }

    /// The next one; returns once it is over.
    pub async fn strike(&mut self, soak: &mut Soak) {
        let (simulator, lasts) = (soak.scene.simulator.clone(), self.millis(100..3_000));
        let devices: Vec<_> = soak.tenants.iter().flat_map(|tenant| tenant.phone.devices()).collect();
        let device = devices.choose(&mut self.random).copied();
        let name = match self.random.random_range(0..100) {
            0..10 => {
                device.iter().for_each(|device| _ = simulator.cut(*device));
                "a link cut"
            }
            10..14 => {
                simulator.cut_all();
                "all links cut"
            }
            14..19 => {
                simulator.unreachable(true);
                sleep(lasts).await;
                simulator.unreachable(false);
                "WhatsApp unreachable"
            }
            19..24 => {
                device.iter().for_each(|device| _ = simulator.end(*device, 503));
                "a link ended by 503"
            }
            24..28 => {
                device.iter().for_each(|device| _ = simulator.replace(*device));
                "a link replaced"
            }
            28..33 => {
                let refusal = if self.random.random_bool(0.3) { Refusal::RateLimited } else { Refusal::Unavailable };
                simulator.refuse(Some(refusal));
                sleep(lasts).await;
                simulator.refuse(None);
                "logins refused"
            }
            33..37 => {
                let phone = &soak.tenants[self.random.random_range(0..soak.tenants.len())].phone;
                phone.refuse(Refusal::Locked);
                sleep(lasts).await;
                phone.accept();
                "an account locked"
            }
            37..55 => {
                simulator.faults().set_times(*PROTOCOL.choose(&mut self.random).expect("some"), 1);
                "a fault of the protocol"
            }
            55..60 => {
                simulator.faults().slow(Some(Duration::from_millis(300)));
                sleep(lasts).await;
                simulator.faults().slow(None);
                "WhatsApp slow"
            }
            60..70 => match &mut soak.redis {
                Some(redis) if self.random.random_bool(0.5) => {
                    redis.pause();
                    sleep(lasts).await;
                    redis.resume();
                    "redis stopped"
                }
                Some(redis) => {
                    redis.stop();
                    sleep(lasts).await;
                    redis.restart();
                    "redis restarted"
                }
                None => "nothing",
            },
            70..76 => {
                soak.program.pause();
                sleep(lasts).await;
                soak.program.resume();
                "the program stopped"
            }
            76..82 if self.may_restart => {
                soak.program.kill();
                sleep(lasts / 4).await;
                soak.start_again();
                "the program killed"
            }
            82..86 if self.may_restart => {
                soak.program.terminate();
                if !soak.program.wait().success() {
                    soak.scene.is_wrong(format!("a drain failed: {:#?}", soak.last_lines()));
                }
                soak.start_again();
                "the program drained"
            }
            _ => "nothing",
        };
        *self.struck.entry(name).or_default() += 1;
        sleep(self.millis(100..2_000)).await;
    }

    /// Faults that were ordered and have not happened yet are called off.
    pub fn end(&self, soak: &Soak) {
        for fault in PROTOCOL {
            soak.scene.simulator.faults().clear(fault);
        }
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }
}
