//! A web service on axum: one pool, one route that uses it, one that shows it. `DATABASE_URL` says where the server is.
//!
//! ```sh
//! DATABASE_URL=postgres://app@localhost/shop cargo run --example axum   # prints where it listens
//! ```

use std::error::Error;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use leakpool::{ErrorCode, Pool};
use serde_json::json;
use tokio::net::TcpListener;

/// What a handler answers when the pool or the server says no.
struct Failed(leakpool::Error);

impl From<leakpool::Error> for Failed {
    fn from(e: leakpool::Error) -> Failed {
        Failed(e)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match self.0.code() {
            // Not the client's fault, and over soon: it may come again.
            ErrorCode::AcquireTimeout | ErrorCode::TooManyWaiting => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        eprintln!("{}", self.0);
        status.into_response()
    }
}

async fn square(
    State(pool): State<Pool>,
    Path(number): Path<i32>,
) -> Result<Json<serde_json::Value>, Failed> {
    // Released when it is dropped, on every path. The line that acquires is the one that a report would name.
    let connection = pool.acquire().await?;
    let rows = connection.fetch("SELECT $1::int4 * $1::int4", &[&number]).await?;
    Ok(Json(json!({ "square": rows[0].get::<_, i32>(0) })))
}

async fn metrics(State(pool): State<Pool>) -> impl IntoResponse {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, openmetrics)], pool.openmetrics())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().dsn(&std::env::var("DATABASE_URL")?).name("axum").max_size(5).build()?;
    let app = Router::new()
        .route("/square/{number}", get(square))
        .route("/metrics", get(metrics))
        .with_state(pool.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(stdin_ends()).await?;
    // Whoever still holds a connection is named.
    for holder in pool.close().await? {
        eprintln!("still held: {}", holder.site.place());
    }
    Ok(())
}

/// An operator's Ctrl-D; a service would wait for a signal.
async fn stdin_ends() {
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
}
