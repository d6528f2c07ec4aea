//! Commands for curl, sent without it: the few options that documents and the demo use.

use reqwest::{Method, Response};

/// Sends what the command would send, and gives the answer.
pub(crate) async fn replay(command: &str) -> Response {
    let mut words = words(command).into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"), "{command}");
    let (mut method, mut url, mut headers, mut body) = (Method::GET, None, Vec::new(), String::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-s" | "-S" | "-i" => {}
            "-X" | "-isSX" => method = words.next().unwrap().parse().unwrap(),
            "-H" => headers.push(words.next().unwrap()),
            "-d" => body = words.next().unwrap(),
            _ => assert_eq!(url.replace(word), None, "{command}"),
        }
    }
    let mut request = reqwest::Client::new().request(method, url.unwrap()).body(body);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

/// The words of a command, as a shell splits them.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\n') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
