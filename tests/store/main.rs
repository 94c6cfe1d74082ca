//! The promises of a store, as one list that every backend must keep. A test's name is the promise.
//!
//! Modules of promises are written against the traits and run once for each [`backend::Backend`]; properties of one
//! backend alone (its file, its crash, its figures) have their own modules.

/// Lists the promises of a module, each a function over any backend, and runs them with every backend. A promise that
/// is not listed is dead code, which the compiler reports.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::backend::in_time(super::$promise(<crate::backend::Embedded as crate::backend::Backend>::fresh())).await;
                }
            )+
        }

        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    if tautan_test_support::redis_is_installed() {
                        crate::backend::in_time(super::$promise(<crate::backend::Redis as crate::backend::Backend>::fresh())).await;
                    }
                }
            )+
        }
    };
}

mod backend;
mod clocks;
mod crash;
mod cursors;
mod deployments;
mod figures;
mod file;
mod erasure;
mod finish;
mod forgetting;
mod heartbeats;
mod hesitation;
mod indexes;
mod journal;
mod keys;
mod later;
mod leases;
mod limits;
mod names;
mod outbox;
mod promotions;
mod redis;
mod registrations;
mod client_versions;
mod refusals;
mod restarts;
mod revocations;
mod rollback;
mod messages;
mod migrations;
mod staleness;
mod statuses;
mod credentials;
mod desired_states;
mod writer;
