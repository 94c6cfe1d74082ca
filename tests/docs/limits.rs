//! The table of limits: each has a test and, where it can be set, its variable; and each constant of the code that limits
//! something stands in a row.

use std::{collections::BTreeSet, fs};

use crate::{code, files, quoted, read, root, rows, section};

/// Which row of the table a constant belongs to.
const ROWS: &[(&str, &str)] = &[
    ("auth/jwks.rs WAITING_MAX", "requests that wait for a key set"),
    ("auth/jwks.rs WAIT_MAX", "requests that wait for a key set"),
    ("auth/publisher.rs SIZE_MAX_BYTES", "size of a key set, and time to fetch it"),
    ("events/account.rs NAME_CHARS_MAX", "characters of an account's name"),
    ("http/admin/actions.rs ERASE_TIME_MAX", "time for which an erasure by your back end waits for the session to end"),
    ("http/admin/actions.rs LINKED_PAGE_MAX", "linked tenants in one answer"),
    ("http/admin/mod.rs HEADERS_ARRIVAL_MAX", "time for the headers of a request"),
    ("http/admin/mod.rs REQUESTS_MAX", "requests to the listener for your back end, and the time of each"),
    (
        "http/admin/mod.rs REQUESTS_PER_ADDRESS_MAX",
        "connections of one address that is not loopback to the listeners for metrics and for your back end",
    ),
    ("http/admin/mod.rs REQUEST_TIME_MAX", "requests to the listener for your back end, and the time of each"),
    ("http/body.rs ARRIVAL_MAX", "time for the body of a command"),
    ("http/body.rs SIZE_MAX_BYTES", "size of the body of a command"),
    ("http/connections.rs ANSWER_TIME_MAX", "answer to a request"),
    ("http/events/socket.rs STALLED_MAX", "a stream whose reader takes no byte of what waits for it"),
    ("http/events/socket.rs UNASKED_BYTES_MAX", "bytes that a client sends behind the request of a stream"),
    ("http/identity.rs COOKIES_MAX", "cookies of the configured name"),
    ("http/metrics.rs SCRAPES_MAX", "connections to the listener for metrics, and the time of each"),
    (
        "http/metrics.rs SCRAPES_PER_ADDRESS_MAX",
        "connections of one address that is not loopback to the listeners for metrics and for your back end",
    ),
    ("http/metrics.rs SCRAPE_TIME_MAX", "connections to the listener for metrics, and the time of each"),
    ("http/request_id.rs LENGTH_MAX", "characters of a request's id"),
    ("http/server.rs HEADERS_ARRIVAL_MAX", "time for the headers of a request"),
    ("http/server.rs IDLE_MAX", "idle connection"),
    ("http/server.rs UNACKNOWLEDGED_MAX", "unacknowledged bytes of a connection"),
    ("link_options.rs DEVICE_NAME_CHARS_MAX", "characters of the name in the phone's list of linked devices"),
    ("link_options.rs PROXY_NAME_BYTES_MAX", "name of a proxy to WhatsApp, and user and password of a SOCKS5 proxy"),
    (
        "proxy/url.rs SOCKS_CREDENTIALS_BYTES_MAX",
        "name of a proxy to WhatsApp, and user and password of a SOCKS5 proxy",
    ),
    ("session/mailbox.rs MESSAGES_MAX", "answers to a passkey step that wait for the session"),
    ("session/mailbox.rs MESSAGE_AGE_MAX", "answers to a passkey step that wait for the session"),
    ("session/failures.rs THROTTLED_MAX", "pause before a dial that WhatsApp or unreadable credentials put off"),
    ("session/failures.rs THROTTLED_PAIRINGS_MAX", "logins of a pairing that WhatsApp puts off"),
    ("session/failures.rs UNREADABLE_MAX", "pause before a dial that WhatsApp or unreadable credentials put off"),
    ("store/embedded/memory.rs HISTORIES_MAX", "past events of all tenants (embedded store)"),
    ("store/embedded/memory.rs HISTORY_MAX", "past events of a tenant that a reader can resume from"),
    ("store/embedded/mod.rs READS_MAX", "reads of credentials from the embedded store's file at once"),
    ("store/embedded/mod.rs STEPS_MAX", "steps that wait for the embedded store's writer"),
    ("store/embedded/mod.rs STEP_TIME_MAX", "steps that wait for the embedded store's writer"),
    ("store/hub.rs BEHIND_MAX", "updates that a stream's reader may be behind"),
    ("store/idle.rs IDLE_STEP_MAX", "step of the store's clock that counts towards it"),
    ("store/mod.rs MESSAGES_MAX", "answers to a passkey step that wait for the session"),
    ("store/redis/client/connection.rs ANSWER_TIME_MAX", "answer of Redis"),
    (
        "store/redis/ownership/leases.rs RECENT_BYTES_MAX",
        "changes of a tenant's credentials that are kept in case Redis loses them",
    ),
    ("store/redis/commands/submit.rs SUBMIT_TIME_MAX", "attempts to save a request in Redis that others change too"),
    ("store/redis/journal/write.rs DECISIONS_MAX", "attempts to save a request in Redis that others change too"),
    ("telemetry/mod.rs LINES_MAX", "log lines that wait for the log's reader"),
    ("tenant.rs LENGTH_MAX", "tenant name"),
    ("webhook/endpoint.rs TIME_MAX", "time for one webhook request"),
    ("webhook/gone.rs TENANTS_MAX", "tenants in a row that the webhook's receiver answers 410"),
    ("whatsapp/caches.rs CONTACTS_MAX", "contacts of an account in memory, for each session"),
    ("whatsapp/connection.rs UNREAD_MAX", "message of WhatsApp, and parts of it that a link's library has not read"),
    ("whatsapp/connection.rs UNWRITTEN_FOR_MAX", "time for which WhatsApp leaves unread what a link writes"),
    ("whatsapp/dial.rs PROXY_TIME_MAX", "time for a proxy to connect to WhatsApp"),
    ("whatsapp/http.rs AT_ONCE_MAX", "other HTTP requests of a link to WhatsApp"),
    ("whatsapp/in_flight.rs ANSWERS_MAX", "tasks of a link, and acknowledgements that it has to send"),
    ("whatsapp/in_flight.rs CATCH_UP_MAX", "tasks of a link, and acknowledgements that it has to send"),
    ("whatsapp/in_flight.rs TASKS_MAX", "tasks of a link, and acknowledgements that it has to send"),
    ("whatsapp/keys/secrets.rs ROWS_MAX", "message secrets of one session"),
    ("session/task/requests.rs CODES_MAX", "pairing codes after one request, the replacements of a void one included"),
    ("whatsapp/socket.rs MESSAGE_BYTES_MAX", "message of WhatsApp, and parts of it that a link's library has not read"),
    ("whatsapp/socket.rs UPGRADE_BYTES_MAX", "WhatsApp's answer to the upgrade of a connection"),
    ("whatsapp/translate.rs CODE_BYTES_MAX", "options of a passkey, and code to compare"),
    ("whatsapp/translate.rs OPTIONS_BYTES_MAX", "options of a passkey, and code to compare"),
];

/// Constants that only pace or divide work inside. What they bound cannot be used up from outside, and no answer changes
/// when they are reached.
const INSIDE: &[&str] = &[
    "app/backend.rs REDIS_TIME_MAX",
    "app/check.rs WHATSAPP_TIME_MAX",
    "app/erase.rs SESSION_TIME_MAX",
    "app/healthcheck.rs ANSWER_TIME_MAX",
    "app/moving.rs LEASE_TIME_MAX",
    "auth/claims.rs SHOWN_LENGTH_MAX",
    "config/read.rs FORGET_AFTER_MAX",
    "config/read.rs LIMIT_COUNT_MAX",
    "config/read.rs LIMIT_TIME_MAX",
    "events/account.rs PLATFORM_BYTES_MAX",
    "http/connections.rs CLOSE_TIME_MAX",
    "http/events/mod.rs FIRST_WRITE_BYTES_MAX",
    "http/events/stream_limit.rs WAIT_MAX",
    "http/events/socket.rs NOT_SENT_BYTES_MAX",
    "http/origin.rs SHOWN_LENGTH_MAX",
    "session/administration.rs LISTED_MAX",
    "session/supervisor.rs SWEEP_MAX",
    "shutdown.rs ECHO_MAX",
    "store/embedded/mod.rs END_TIME_MAX",
    "store/embedded/writer.rs BATCH_MAX",
    "store/outbox.rs BATCH_MAX",
    "store/redis/watchers/listener.rs LISTEN_TIME_MAX",
    "store/redis/watchers/watched.rs WAITING_MAX",
    "store/redis/watchers/reconcile.rs BATCH_MAX",
    "store/redis/ownership/released.rs RELEASES_COMPARED_MAX",
    "store/redis/client/connection.rs CONNECT_TIME_MAX",
    "store/redis/membership/heartbeat.rs INBOX_MAX",
    "store/redis/journal.rs READ_TIME_MAX",
    "store/redis/ownership/leases.rs LOSS_MAX_BEATS",
    "store/redis/ownership/released.rs LOSS_MAX_BEATS",
    "store/redis/watchers/listener.rs BATCH_MAX",
    "store/redis/watchers/listener.rs RETRY_MAX",
    "store/redis/watchers/listener.rs SILENCE_MAX",
    "store/redis/mod.rs ORDERS_MAX",
    "store/redis/client/migration.rs ANSWER_TIME_MAX",
    "store/redis/outbox.rs FOUND_MAX",
    "store/redis/outbox.rs MEASURED_MAX",
    "store/redis/encryption/reseal.rs EXCHANGES_MAX",
    "store/redis/encryption/sealed.rs CODE_AGE_MAX",
    "store/redis/client/sentinel.rs ASK_TIME_MAX",
    "store/redis/client/sentinel.rs STRAGGLERS_TIME_MAX",
    "store/redis/encryption/unread.rs REPORTED_MAX",
    "whatsapp/caches.rs CHATS_MAX",
    "whatsapp/caches.rs DEVICE_LISTS_MAX",
    "whatsapp/caches.rs GROUPS_MAX",
    "whatsapp/caches.rs LOCKS_MAX",
    "whatsapp/connection.rs CLOSE_TIME_MAX",
    "whatsapp/driver.rs SIGNALS_MAX",
    "whatsapp/http.rs CONNECT_TIME_MAX",
    "whatsapp/http.rs ERROR_BYTES_MAX",
    "whatsapp/http.rs HEADER_BYTES_MAX",
    "whatsapp/in_flight.rs COUNTING_TIME_MAX",
    "whatsapp/inbox.rs EVENTS_MAX",
    "whatsapp/keys/device.rs FAILURES_MAX",
    "whatsapp/keys/device.rs HINT_BYTES_MAX",
    "whatsapp/keys/signal.rs DEVICES_MAX",
    "whatsapp/translate.rs ATTEMPTS_MAX",
    "whatsapp/transport.rs FRUITLESS_MAX",
    "whatsapp/version.rs PAUSE_MAX",
];

fn table() -> Vec<Vec<String>> {
    let document = read("docs/operations.md");
    rows(section(&document, "## Limits").split("\n### ").next().unwrap())
}

/// Constants whose names say that they are the most of something, each by its file below `src`.
fn constants() -> BTreeSet<String> {
    let mut paths = Vec::new();
    files(&root().join("src"), "rs", &mut paths);
    let mut found = BTreeSet::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap();
        for line in text.lines().filter(|line| !line.starts_with(' ')) {
            let Some((_, rest)) = line.split_once("const ") else { continue };
            let name = rest.split(':').next().unwrap();
            if name.split('_').any(|part| part == "MAX") {
                found.insert(format!("{file} {name}"));
            }
        }
    }
    found
}

#[test]
fn every_limit_names_its_test() {
    let code = code(&["src", "tests"]);
    let table = table();
    assert!(table.len() > 40, "the table was read: {}", table.len());
    for row in table {
        let [limit, default, answer, test] = &row[..] else { panic!("a limit has four cells: {row:?}") };
        assert!(!default.is_empty() && !answer.is_empty(), "{limit}");
        let tests: Vec<_> = quoted(test).collect();
        assert!(!tests.is_empty(), "{limit} names no test");
        for test in tests {
            assert!(
                code.contains(&format!("fn {test}(")),
                "{limit} names the test {test}, and there is no such function"
            );
        }
    }
}

#[test]
fn every_limit_that_can_be_set_stands_in_the_table() {
    let variables = read("src/config/variables.rs");
    let names =
        variables.split('"').filter(|word| word.starts_with("TAUTAN_MAX_") || word.starts_with("TAUTAN_LIMIT_"));
    let known: BTreeSet<&str> = names.collect();
    let table = table();
    let listed: BTreeSet<&str> = table.iter().flat_map(|row| quoted(&row[1])).collect();
    assert!(known.len() > 9, "the variables were read: {known:?}");
    for name in known {
        assert!(listed.contains(name), "docs/operations.md has no limit with {name}");
    }
}

#[test]
fn every_constant_that_limits_stands_in_the_table() {
    let known: BTreeSet<String> =
        ROWS.iter().map(|(name, _)| *name).chain(INSIDE.iter().copied()).map(Into::into).collect();
    let found = constants();
    let missing: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(missing.is_empty(), "give each a row of docs/operations.md, or say in INSIDE that it is none: {missing:?}");
    assert!(gone.is_empty(), "the code does not have {gone:?}");
    let table = table();
    for (name, limit) in ROWS {
        assert!(table.iter().any(|row| row[0] == *limit), "docs/operations.md has no limit {limit:?}, for {name}");
    }
}
