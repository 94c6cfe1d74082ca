use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::clock::Timestamp;

/// Passes orders of the instance to one open stream. A timer and channels for each stream would be most of an idle
/// stream's memory.
#[derive(Default)]
pub struct Handle {
    /// Streams of one group have their heartbeats together.
    pub group: u32,
    /// Of its token.
    pub issued_at: Option<Timestamp>,
    orders: Mutex<Orders>,
}

#[derive(Default)]
struct Orders {
    heartbeat: bool,
    end: bool,
    revoked: bool,
    stream: Option<Waker>,
}

/// What a stream must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Heartbeat,
    /// The instance drains or stops. Stays so.
    End,
    /// The stream's token was revoked. Stays so.
    EndRevoked,
}

impl Orders {
    fn end(&self) -> Option<Order> {
        match (self.revoked, self.end) {
            (true, _) => Some(Order::EndRevoked),
            (false, true) => Some(Order::End),
            (false, false) => None,
        }
    }
}

impl Handle {
    pub fn new(group: u32, issued_at: Option<Timestamp>) -> Self {
        Self { group, issued_at, ..Self::default() }
    }

    /// Returns the waker of the stream. Wake it only after every lock is released. Two heartbeats ordered together are
    /// one.
    pub fn order(&self, order: Order) -> Option<Waker> {
        let mut orders = self.orders();
        match order {
            Order::Heartbeat => orders.heartbeat = true,
            Order::End => orders.end = true,
            Order::EndRevoked => orders.revoked = true,
        }
        orders.stream.take()
    }

    /// For the one task that writes the stream.
    pub fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
        let mut orders = self.orders();
        if let Some(end) = orders.end() {
            return Poll::Ready(end);
        }
        if std::mem::take(&mut orders.heartbeat) {
            return Poll::Ready(Order::Heartbeat);
        }
        Self::wait(&mut orders, cx);
        Poll::Pending
    }

    /// Reports only whether the stream must end. A heartbeat stays due.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Order> {
        let mut orders = self.orders();
        if let Some(end) = orders.end() {
            return Poll::Ready(end);
        }
        Self::wait(&mut orders, cx);
        Poll::Pending
    }

    fn wait(orders: &mut Orders, cx: &Context<'_>) {
        if !orders.stream.as_ref().is_some_and(|stream| stream.will_wake(cx.waker())) {
            orders.stream = Some(cx.waker().clone());
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
