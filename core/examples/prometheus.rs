//! The metrics of several pools on one page, for Prometheus, without a web framework.
//!
//! ```sh
//! DATABASE_URL=postgres://app@localhost/shop cargo run --example prometheus   # prints where it listens
//! ```

use std::error::Error;

use leakpool::{Pool, openmetrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One scrape: whatever is asked for, the metrics are the answer.
async fn answer(mut stream: TcpStream, pools: &[Pool]) -> std::io::Result<()> {
    let mut request = Vec::new();
    // To the end of its head, however many pieces it comes in.
    while !request.ends_with(b"\r\n\r\n") && request.len() < 16 * 1024 {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let metrics: Vec<_> = pools.iter().map(Pool::metrics).collect();
    let body = openmetrics(&metrics);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let pool = |name: &str| Pool::builder().dsn(&url).name(name).max_size(2).build();
    let pools = [pool("orders")?, pool("reports")?];
    // Something to count.
    pools[0].query("SELECT 1", &[]).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let stdin_ends =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let serve = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await
                && let Err(e) = answer(stream, &pools).await
            {
                eprintln!("a scrape was cut off: {e}");
            }
        }
    };
    tokio::select! {
        () = serve => {}
        _ = stdin_ends => {}
    }
    for pool in &pools {
        pool.close().await?;
    }
    Ok(())
}
