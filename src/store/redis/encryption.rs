//! What leaves this process is encrypted: `sealed` encrypts and opens events, codes and rows, `proof` finds a wrong key before
//! anything is read or written, `reseal` encrypts kept data again during a rotation.
//!
//! Where to start reading: `sealed`.

pub mod proof;
pub mod reseal;
pub mod sealed;
pub mod unread;
