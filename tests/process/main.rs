//! The program as a process of its own, beside a WhatsApp simulator: it is killed, ended, started wrongly and worn out, and
//! clients see what they were promised. Each test has a simulator and a data directory for itself.

mod clients;
mod codes;
mod commands;
mod connections;
mod contacts;
mod curl;
mod demo;
mod deploy;
mod disk;
mod endings;
mod erasures;
mod floods;
mod gateways;
mod interruptions;
mod joining;
mod kills;
mod later;
mod limits;
mod log_floods;
mod logs;
mod mixups;
mod outages;
mod passkeys;
mod pictures;
mod receiver;
mod redis;
mod revivals;
mod presence;
mod printed;
mod privacy;
mod proxies;
mod rounds;
mod secrets;
mod starts;
mod stops;
mod stuck_log;
mod tenants;
mod unlinks;
mod versions;
mod waits;
mod webhooks;
mod windows;

use tautan_test_support::stage;
