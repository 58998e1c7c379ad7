//! quick
use leakpool::{Pool, StackCapture};
use std::time::Instant;
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(async {
        tokio::spawn(async {
            let url = std::env::var("DATABASE_URL").unwrap();
            let mut cfg = deadpool_postgres::Config::new();
            cfg.url = Some(url.clone());
            let bare =
                cfg.create_pool(Some(deadpool_postgres::Runtime::Tokio1), tokio_postgres::NoTls).unwrap();
            drop(bare.get().await.unwrap());
            let make = |mode| Pool::builder().dsn(&url).stack_capture(mode).build().unwrap();
            let (off, site, full) =
                (make(StackCapture::Off), make(StackCapture::Site), make(StackCapture::Full));
            for p in [&off, &site, &full] {
                drop(p.acquire().await.unwrap());
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            const N: u32 = 100_000;
            for _ in 0..8 {
                let t = Instant::now();
                for _ in 0..N {
                    drop(bare.get().await.unwrap());
                }
                let b = t.elapsed().as_nanos() as f64 / N as f64;
                let mut line = format!("bare {b:.0} ns");
                for (n, p) in [("off", &off), ("site", &site), ("full", &full)] {
                    let t = Instant::now();
                    for _ in 0..N {
                        drop(p.acquire().await.unwrap());
                    }
                    let x = t.elapsed().as_nanos() as f64 / N as f64;
                    line += &format!("  {n} {x:.0} ({:.2}x)", x / b);
                }
                println!("{line}");
            }
        })
        .await
        .unwrap();
    });
}
