//! Real links of the real library to the simulator, over the embedded store.

mod bench;
mod contacts;
mod crashes;
mod endings;
mod hanging_up;
mod history;
mod lease;
mod pairing;
mod resuming;
mod shaky;
