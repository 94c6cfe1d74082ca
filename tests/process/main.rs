//! The program as a process beside a WhatsApp simulator: it is killed, ended, started wrongly and run for long, and
//! clients still see what the contract promises. Each test has its own simulator and data directory.

mod clients;
mod codes;
mod commands;
mod connections;
mod contacts;
mod curl;
mod demo;
mod deploy;
mod disk;
mod documents;
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
