//! The page in a real Chromium, against the program as a process of its own and the simulated WhatsApp. Skipped, and
//! said so, where Chromium is not installed; with `CI` set that is a failure.

mod axe;
mod browser;
mod camera;
mod card;
mod double;
mod driver;
mod listener;
mod screen;
mod page_test;
mod wire;

mod arabic;
mod boundary;
mod checklist;
mod clients;
mod countdown;
mod ends;
mod gallery;
mod host;
mod keyboard;
mod languages;
mod lifecycle;
mod looks;
mod outages;
mod pair_code;
mod passkeys;
mod reload;
mod sign_in;
mod store;
mod streams;
mod tenants;
