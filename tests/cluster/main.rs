//! Several instances as processes on one Redis: they are killed, ended, stopped and cut off, and Redis as
//! well, and clients still see what the contract promises.

mod deaths;
mod departures;
mod flaws;
mod history;
mod losses;
mod outages;
mod panics;
mod quiet;
mod refusals;
mod sharing;
mod stage;
mod tab;
mod thrift;
mod trips;
mod truth;
mod webhooks;
mod zombies;
