//! A thousand tenants on one Redis: their links run on one instance, their streams are open on another.

use std::{thread, time::Duration};

use serde_json::Value;
use tautan_test_support::RedisServer;

use crate::{
    load::run,
    rows::{Tautan, tautan},
    table::{Table, value},
};

const TENANTS: usize = 1000;
/// Of each tenant: 500 events a second together.
const TICK_MS: u64 = 2000;
const SECONDS: u64 = 20;
/// Until all streams are open, and how long commands are counted then.
const OPENING: Duration = Duration::from_secs(8);
const COUNTING_TIME: Duration = Duration::from_secs(10);

pub fn tenants(table: &mut Table) {
    for instances in [1, 2, 4] {
        row(table, instances);
    }
}

/// The links of each instance are read at the next one.
fn row(table: &mut Table, instances: usize) {
    let redis = RedisServer::start();
    let limits = [("TAUTAN_MAX_SESSIONS", "1500"), ("TAUTAN_MAX_CONNECTIONS", "6000"), ("TAUTAN_MAX_STREAMS", "5000")];
    let all: Vec<Tautan> = (0..instances).map(|_| tautan(Some(&redis), TICK_MS, &limits)).collect();
    let each = TENANTS / instances;
    for (number, owner) in all.iter().enumerate() {
        run(&format!("connect --url {} --tenants {each} --tenant ticking-{number}-{{n}}", owner.program.base()));
    }
    let redis_pid = number_in(&redis, "server", "process_id");
    let pids: String = all
        .iter()
        .enumerate()
        .map(|(number, instance)| format!(" --pid i{number}={}", instance.program.pid()))
        .chain([format!(" --pid redis={redis_pid}")])
        .collect();
    let listen = |number: usize| {
        let reader = all[(number + 1) % instances].program.base();
        let pids = if number == 0 { &pids } else { "" };
        run(&format!(
            "listen --url {reader} --streams {each} --tenants {each} --tenant ticking-{number}-{{n}} --seconds {SECONDS}{pids}"
        ))
    };
    let (reports, commands) = thread::scope(|scope| {
        let listeners: Vec<_> = (0..instances).map(|number| scope.spawn(move || listen(number))).collect();
        thread::sleep(OPENING);
        let before = number_in(&redis, "stats", "total_commands_processed");
        thread::sleep(COUNTING_TIME);
        let commands = number_in(&redis, "stats", "total_commands_processed") - before;
        let reports: Vec<Value> = listeners.into_iter().map(|listener| listener.join().expect("it measures")).collect();
        (reports, commands)
    });
    let events: f64 = reports.iter().map(|report| value(report, "deliveries_per_second")).sum();
    let cpu = |name: &str| value(&reports[0], &format!("{name}_cpu_percent"));
    let ours: f64 = (0..instances).map(|number| cpu(&format!("i{number}"))).sum();
    let p99 = reports.iter().map(|report| value(report, "delivery_p99_ms")).fold(0.0, f64::max);
    let of_each = |percent: f64| percent / 100.0 / events * 1e6;
    table.row(
        &format!("{TENANTS} tenants through Redis, {events:.0} events/s, {instances} instances"),
        format!("p99 {p99:.1} ms, {:.1} % of a core with redis-server", ours + cpu("redis")),
        format!(
            "for each event: {:.0} µs of the instances, {:.0} µs of redis-server, {:.1} commands",
            of_each(ours),
            of_each(cpu("redis")),
            commands as f64 / COUNTING_TIME.as_secs_f64() / events
        ),
        "p99 5 ms, 10 %",
    );
}

/// Of what Redis says about itself.
pub fn number_in(redis: &RedisServer, section: &str, name: &str) -> u64 {
    let answer = String::from_utf8_lossy(&redis.ask(&["INFO", section])).into_owned();
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|number| number.trim().parse().ok()).expect("Redis says it")
}
