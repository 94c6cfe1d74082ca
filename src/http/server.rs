use std::{convert::Infallible, future::poll_fn, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

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
use warp::reply::Reply as _;

use super::{
    Context, Services,
    arrival::{Answered, Arrival, Listening},
    assets::Assets,
    budgets::Budgets,
    detach::{self, Detach, Detached, Served},
    events::Streams,
    host,
    refusals::Refusals,
    routes::routes,
    unread::Explained,
};

/// A client that sends its headers a byte at a time is gone after this long.
const HEADERS_ARRIVAL_MAX: Duration = Duration::from_secs(10);
/// Between two requests. Longer than the 60 s after which most balancers give up an idle connection of their own: one that
/// sent a request just as we close would answer 502 for us, which ends an EventSource for good.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// For a request's headers, and for what waits to be written: a reader who does not read costs this much of ours.
/// Twice what proxies usually pass on, so that an absurd token is still answered with what is wrong with it.
const BUFFER_SIZE_BYTES: usize = 16 * 1024;
/// A phone that left its network says no goodbye. Heartbeats that nobody acknowledges end its stream.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);
/// Out of file descriptors, most likely: they come back one by one, and asking faster does not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets open requests finish, and streams end, for [`super::Settings::grace`].
///
/// Our own loop: warp's has no deadline for headers, no bound on buffers, no end while a stream is open.
/// False: some connections had to be cut.
pub async fn serve(listener: TcpListener, services: Services, stop: CancellationToken) -> bool {
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    let (grace, end_streams, clock) = (services.settings.grace, services.end_streams.clone(), services.clock.clone());
    let streams = Arc::new(Streams::start(&services.settings, end_streams.clone(), stop.clone(), &connections));
    let refusals = Arc::new(Refusals::default());
    let (reporting, reports_end) = (refusals.clone(), stop.clone());
    connections.spawn(async move {
        reports_end.run_until_cancelled(reporting.report()).await;
        reporting.flush();
    });
    let budgets = Budgets::new(services.settings.limits);
    let context = Arc::new(Context { services, streams, budgets, refusals, assets: Assets::load() });
    let service = TowerToHyperService::new(warp::service(routes(context)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).max_buf_size(BUFFER_SIZE_BYTES);

    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Some(socket) = ready(accepted, &stop).await else { continue };
        let (service, arrival, detach) = (service.clone(), Arc::new(Arrival::new()), Arc::new(Detach::default()));
        let (arrives, leaves, clock) = (arrival.clone(), detach.clone(), clock.clone());
        let served = service_fn(move |mut request| {
            arrives.begin();
            let line = (request.method().clone(), request.version());
            let answer = host::settle(&mut request).map(|()| service.call(request));
            let (arrival, detach, now) = (arrives.clone(), leaves.clone(), clock.now());
            async move {
                let answer = match answer {
                    Ok(answer) => detach.leave(line, now, answer.await?).await,
                    Err(problem) => problem.into_response(),
                };
                Ok::<_, Infallible>(answer.map(|body| Answered { body, arrival }))
            }
        });
        let socket = Listening { socket, arrival: arrival.clone() };
        let mut connection = http.serve_connection(TokioIo::new(Explained::new(socket)), served);
        let (stop, cut, streams) = (stop.clone(), cut.clone(), connections.clone());
        connections.spawn(async move {
            let served = tokio::select! {
                served = poll_fn(|cx| detach.poll(&mut connection, &arrival, cx)) => Some(served),
                () = stop.cancelled() => None,
                () = arrival.is_overdue(HEADERS_ARRIVAL_MAX) => return,
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
                    // A task of its own, without what the server's part of the connection took.
                    streams.spawn(stream.write_to(socket, head));
                }
                Some(Served::Ended(Err(error))) => tracing::debug!(%error, "a connection broke off"),
                Some(Served::Ended(Ok(()))) | None => {}
            }
        });
    }
    drop(listener);
    end_streams.cancel();
    connections.close();
    let drained = tokio::time::timeout(grace, connections.wait()).await.is_ok();
    if !drained {
        tracing::warn!(connections = connections.len(), "connections are cut: the grace is over");
        cut.cancel();
        connections.wait().await;
    }
    drained
}

async fn ready(accepted: io::Result<(TcpStream, SocketAddr)>, stop: &CancellationToken) -> Option<TcpStream> {
    match accepted {
        Ok((socket, _)) => {
            let tuned = socket
                .set_nodelay(true)
                .and_then(|()| SockRef::from(&socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)));
            if let Err(error) = tuned {
                tracing::debug!(%error, "a socket could not be tuned");
            }
            Some(socket)
        }
        Err(error) if gone_already(&error) => None,
        Err(error) => {
            tracing::error!(%error, "no connection can be accepted for now");
            stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
            None
        }
    }
}

fn gone_already(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
