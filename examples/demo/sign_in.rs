use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Replaces the SaaS product's login: every visitor is signed in and redirected to the page. On its own port, since
/// browsers keep cookies by host and not by port.
pub async fn serve(listener: TcpListener, token: String, page: String) {
    let answer = format!(
        "HTTP/1.1 303 See Other\r\nlocation: {page}\r\nset-cookie: fibidy_auth={token}; Path=/; HttpOnly; \
         SameSite=Lax\r\ncache-control: no-store\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    while let Ok((mut browser, _)) = listener.accept().await {
        // A demo has one visitor, so a client that sends nothing delays no other.
        let mut request = [0; 4_096];
        if browser.read(&mut request).await.is_ok() {
            let _ = browser.write_all(answer.as_bytes()).await;
        }
    }
}
