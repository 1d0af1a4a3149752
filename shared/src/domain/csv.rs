//! Rows of CSV (RFC 4180) that a spreadsheet shows and does not run.

/// A row.
pub(super) fn line(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|c| cell(c)).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell. What a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV Injection).
fn cell(text: &str) -> String {
    // Full-width forms too: spreadsheets of East Asian locales read them as the others.
    let formula = text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '|', '%', '＝', '＋', '－', '＠',
    ]);
    let guarded = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if guarded.contains([',', '"', '\r', '\n', ';', '\'']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_4180_needs_quotes_gets_them() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"hi\"\r\n"), "\"say \"\"hi\"\"\r\n\"");
        assert_eq!(line(&["a".into(), String::new(), "c".into()]), "a,,c\r\n");
    }

    #[test]
    fn nothing_runs_as_a_formula() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "=cmd|' /C calc'!A0",
            "＝1+1",
            "＋1",
            "－1",
            "＠SUM(A1)",
        ] {
            let cell = cell(text);
            assert!(cell.starts_with("\"'"), "{cell}");
        }
    }
}
