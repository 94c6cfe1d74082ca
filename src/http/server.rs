use std::{convert::Infallible, future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};

use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use warp::reply::Reply as _;

use super::{
    Context, Services,
    arrival::{Answered, Listening},
    assets::Assets,
    budgets::Budgets,
    connections::{Admitted, Connections},
    detach::{self, Detach, Detached, Served},
    documents::Documents,
    error::Code,
    events::{Streams, end_revoked},
    few, host,
    parse_errors::ParseErrorBodies,
    refusals::Refusals,
    request_id::{self, REQUEST_ID},
    routes::routes,
};
use crate::telemetry::metrics;

/// A client that has not sent its headers by then is disconnected.
const HEADERS_ARRIVAL_MAX: Duration = Duration::from_secs(10);
/// Between two requests. Longer than the 60 s after which most balancers give up an idle connection of their own: one that
/// sent a request just as we close would answer 502 for us, which ends an EventSource for good.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// For a request's headers, and for bytes that wait to be written, so a client that does not read costs this much
/// memory. Twice what proxies usually pass on, so that a too large token is still answered with the reason.
const BUFFER_SIZE_BYTES: usize = 16 * 1024;
/// A phone that left its network does not close its connection. Its stream ends when it acknowledges no heartbeat.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);
/// What the kernel may hold of answers that a client does not read. It counts its own overhead, and takes twice the number.
/// Without this it holds up to 2.5 MB for each connection, which counts as memory of the container, and a client has
/// hundreds of answers made that it never reads.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Serves until `stop`, then lets open requests finish, and streams end, for [`super::Settings::grace`].
///
/// A loop of our own: warp's has no deadline for headers, no bound on buffers, and no end while a stream is open.
/// Returns false if some connections had to be cut.
pub async fn serve(listener: TcpListener, services: Services, stop: CancellationToken) -> bool {
    metrics().problems.prepare(Code::ALL.iter().map(|code| [code.as_str()]));
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let (grace, end_streams) = (services.settings.grace, services.end_streams.clone());
    let streams = Streams::start(&services.settings, end_streams.clone(), stop.clone(), &tasks);
    let connections = Arc::new(Connections::new(services.settings.caps, services.settings.trusted_proxies.clone()));
    let budgets = Budgets::new(services.settings.limits);
    let refusals = Refusals::default();
    let context = Arc::new(Context {
        services,
        streams,
        budgets,
        refusals,
        assets: Assets::load(),
        documents: Documents::default(),
    });
    tasks.spawn(report(context.clone(), connections.clone(), stop.clone()));
    tasks.spawn(end_revoked(context.clone(), stop.clone()));
    let service = TowerToHyperService::new(warp::service(routes(context)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).max_buf_size(BUFFER_SIZE_BYTES);

    let doorway = Doorway { listener, connections };
    while let Some((socket, admitted)) = stop.run_until_cancelled(doorway.next()).await {
        let (service, arrival, detach) = (service.clone(), admitted.arrival(), Arc::new(Detach::default()));
        let (arrives, visitor, leaves) = (arrival.clone(), admitted.visitor(), detach.clone());
        let served = service_fn(move |mut request| {
            arrives.begin();
            let line = (request.method().clone(), request.version());
            request.extensions_mut().insert(visitor.clone());
            let id = request_id::of(request.headers());
            let span = request_id::span(&id, request.headers());
            let answer = host::normalize(&mut request).map(|()| service.call(request));
            let (arrival, detach) = (arrives.clone(), leaves.clone());
            let answered = async move {
                let mut answer = match answer {
                    Ok(answer) => answer.await?,
                    Err(problem) => problem.into_response(),
                };
                answer.headers_mut().insert(REQUEST_ID, id);
                tracing::debug!(status = answer.status().as_u16(), "request answered");
                let answer = detach.leave(line, answer).await;
                Ok::<_, Infallible>(answer.map(|body| Answered { body, arrival }))
            };
            // The server keeps room for this between requests too: boxed, that is room for a pointer.
            Box::pin(answered.instrument(span))
        });
        let (http, stop, cut, streams) = (http.clone(), stop.clone(), cut.clone(), tasks.clone());
        // Dropped last: it counts the socket as closed.
        tasks.spawn(async move {
            let admitted = admitted;
            // A client that sends nothing has no buffers.
            if !sends_a_byte(&socket, &admitted, &stop).await {
                drop(socket);
                return;
            }
            let socket = Listening { socket, arrival: arrival.clone() };
            let mut connection = http.serve_connection(TokioIo::new(ParseErrorBodies::new(socket)), served);
            let served = tokio::select! {
                served = poll_fn(|cx| detach.poll(&mut connection, &arrival, cx)) => Some(served),
                () = stop.cancelled() => None,
                () = arrival.is_overdue(HEADERS_ARRIVAL_MAX) => return,
                at_once = admitted.is_closed() => if at_once { return } else { None },
            };
            let served = match served {
                Some(served) => Some(served),
                None => {
                    // Idle ones close now, busy ones after the answer under way.
                    Pin::new(&mut connection).graceful_shutdown();
                    cut.run_until_cancelled(poll_fn(|cx| detach.poll(&mut connection, &arrival, cx))).await
                }
            };
            match served {
                Some(Served::Detached(detached)) => {
                    let Detached { head, chunked, stream } = *detached;
                    let socket = detach::socket(connection, chunked);
                    // Its own task, without the memory of the server's part of the connection.
                    streams.spawn(stream.write_to(socket, admitted.hold(), head));
                }
                Some(Served::Ended(Err(error))) => tracing::debug!(%error, "a connection broke off"),
                Some(Served::Ended(Ok(()))) | None => {}
            }
        });
    }
    drop(doorway);
    end_streams.cancel();
    tasks.close();
    let drained = tokio::time::timeout(grace, tasks.wait()).await.is_ok();
    if !drained {
        tracing::warn!(connections = tasks.len(), "drain deadline exceeded, cutting connections");
        cut.cancel();
        tasks.wait().await;
    }
    drained
}

/// Waits for a new connection's first byte. False: it does not come in time, or the connection has to close.
async fn sends_a_byte(socket: &TcpStream, admitted: &Admitted, stop: &CancellationToken) -> bool {
    let arrival = admitted.arrival();
    tokio::select! {
        came = socket.readable() => came.is_ok(),
        () = stop.cancelled() => false,
        () = arrival.is_overdue(HEADERS_ARRIVAL_MAX) => false,
        _ = admitted.is_closed() => false,
    }
}

/// Logs counts of refused requests, streams and connections until `stop`, and forgets budgets that are whole again.
async fn report(context: Arc<Context>, connections: Arc<Connections>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(REPORT_EVERY)).await.is_some() {
        context.refusals.flush();
        context.streams.report();
        context.budgets.forget();
        connections.report();
    }
    context.refusals.flush();
}

/// Accepts connections within the limits.
struct Doorway {
    listener: TcpListener,
    connections: Arc<Connections>,
}

impl Doorway {
    async fn next(&self) -> (TcpStream, Admitted) {
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    // Over the limit it is closed without an answer: after any status an EventSource never comes back.
                    if let Some(admitted) = self.connections.admit(peer.ip()).await {
                        tune(&socket);
                        return (socket, admitted);
                    }
                }
                Err(error) if gone_already(&error) => {}
                Err(error) => {
                    // Out of descriptors, most likely.
                    if !self.connections.make_room(&error).await {
                        tokio::time::sleep(few::ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// Not on the listener, whose options Linux copies when a client connects: clients that came before this was running would
/// have none of them.
fn tune(socket: &TcpStream) {
    let tuning = SockRef::from(socket);
    let tuned = tuning
        .set_tcp_nodelay(true)
        .and_then(|()| tuning.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)))
        .and_then(|()| tuning.set_send_buffer_size(SEND_BUFFER_BYTES));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a socket could not be tuned");
    }
}

fn gone_already(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
