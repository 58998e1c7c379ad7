//! Transactions for hosts whose handles do not own them: begin, commit, roll back, each with the one answer that it
//! should have.

use super::Exchange;
use crate::detect::facts::TransactionStatus;
use crate::error::{Error, ErrorCode, Result};
use crate::net::error as failure;

impl Exchange<'_> {
    /// Begins a transaction. `modes` is what may stand behind `BEGIN` (`ISOLATION LEVEL SERIALIZABLE`), or empty.
    ///
    /// # Errors
    /// `InvalidArgument` if one is open already; as for [`simple`](Exchange::simple), and `Database`.
    pub async fn begin(self, modes: &str) -> Result<()> {
        match self.session.traffic().transaction {
            TransactionStatus::Idle => {}
            TransactionStatus::InTransaction | TransactionStatus::Failed => {
                return Err(Error::new(ErrorCode::InvalidArgument, "a transaction is open already"));
            }
        }
        self.simple(&format!("BEGIN {modes}"))?.collect().await.map(drop)
    }

    /// Commits the open transaction.
    ///
    /// # Errors
    /// `InvalidArgument` if none is open; `Database` with SQLSTATE `25P02` if it had failed before: then it was rolled
    /// back instead; otherwise as for [`begin`](Exchange::begin).
    pub async fn commit(self) -> Result<()> {
        if self.session.traffic().transaction == TransactionStatus::Idle {
            return Err(Error::new(ErrorCode::InvalidArgument, "no transaction is open"));
        }
        let answers = self.simple("COMMIT")?.collect().await?;
        if answers.iter().filter_map(|answer| answer.tag()).any(|tag| tag.command() == "ROLLBACK") {
            return Err(failure::rolled_back_instead());
        }
        Ok(())
    }

    /// Rolls back the open transaction; does nothing if none is open.
    ///
    /// # Errors
    /// As for [`simple`](Exchange::simple), and `Database`.
    pub async fn rollback(self) -> Result<()> {
        if self.session.traffic().transaction == TransactionStatus::Idle {
            return Ok(());
        }
        self.simple("ROLLBACK")?.collect().await.map(drop)
    }
}
