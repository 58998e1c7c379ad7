//! What a query has brought, on its way to JavaScript: read from the wire on the way in, and made into as few values as
//! possible on the way out (`Delivered` of `native.d.ts`).

use leakpool::Result;
use leakpool::exchange::{Answer, Answers, Column, Ending};
use napi::Env;
use napi::bindgen_prelude::*;

/// All results of one query.
pub(crate) struct Delivered(Vec<Answer>);

/// Reads an answer to its end.
pub(crate) async fn read(mut answers: Answers) -> Result<Delivered> {
    Ok(Delivered(answers.collect().await?))
}

impl Delivered {
    pub(crate) fn into_js<'env>(self, env: &'env Env) -> napi::Result<Array<'env>> {
        let mut results = env.create_array(0)?;
        for answer in self.0 {
            let mut object = Object::new(env)?;
            let tag = match &answer.ending {
                Ending::Complete(tag) => tag.as_str(),
                Ending::Suspended | Ending::EmptyQuery => "",
            };
            object.set("tag", tag)?;
            match &answer.columns {
                Some(columns) => object.set("fields", fields(env, columns)?)?,
                None => object.set("fields", Null)?,
            }
            let mut rows = env.create_array(answer.rows.len() as u32)?;
            for (n, row) in answer.rows.iter().enumerate() {
                let values: Vec<Option<String>> =
                    row.iter().map(|value| value.map(|v| String::from_utf8_lossy(v).into_owned())).collect();
                rows.set(n as u32, values)?;
            }
            object.set("rows", rows)?;
            results.insert(object)?;
        }
        Ok(results)
    }
}

fn fields<'env>(env: &'env Env, columns: &[Column]) -> napi::Result<Array<'env>> {
    let mut fields = env.create_array(0)?;
    for column in columns {
        let mut field = Object::new(env)?;
        field.set("name", &*column.name)?;
        field.set("tableID", column.table_oid)?;
        field.set("columnID", column.column_id)?;
        field.set("dataTypeID", column.type_oid)?;
        field.set("dataTypeSize", column.type_size)?;
        field.set("dataTypeModifier", column.type_modifier)?;
        field.set("format", if column.format.code() == 0 { "text" } else { "binary" })?;
        fields.insert(field)?;
    }
    Ok(fields)
}
