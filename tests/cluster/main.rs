//! Several instances as processes of their own on one Redis: they are killed, ended, stopped and cut off, and Redis with
//! them, and clients see what they were promised.

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
mod truth;
mod zombies;
