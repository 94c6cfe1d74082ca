//! The program as a process of its own, beside a WhatsApp simulator: it is killed, ended, started wrongly and worn out, and
//! clients see what they were promised. Each test has a simulator and a data directory for itself.

mod kills;
mod stage;
