//! A Pulsar function in Rust without dependencies: it counts the words of its input in the function's state, and answers
//! with each word and how often it came so far. Build it with build.sh; docs/wasm-abi.md describes the functions of the host.

mod host {
    #[link(wasm_import_module = "pulsar")]
    extern "C" {
        pub fn input(buf: *mut u8, capacity: usize) -> i32;
        pub fn output(payload: *const u8, size: usize);
        pub fn held(buf: *mut u8, capacity: usize) -> i32;
        pub fn fail(text: *const u8, size: usize);
        pub fn state_increment(key: *const u8, size: usize, amount: i64, total: *mut i64) -> i32;
    }
}

#[no_mangle]
pub extern "C" fn pulsar_abi_version_1() {}

#[no_mangle]
pub extern "C" fn pulsar_handle(size: i32) -> i32 {
    match count(&input(size as usize)) {
        Ok(answer) => {
            unsafe { host::output(answer.as_ptr(), answer.len()) };
            0
        }
        Err(reason) => {
            unsafe { host::fail(reason.as_ptr(), reason.len()) };
            1
        }
    }
}

fn count(input: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(input).map_err(|e| format!("the input is no text: {e}"))?;
    let mut answer = String::new();
    for word in text.split_whitespace() {
        let total = increment(&word.to_lowercase())?;
        if !answer.is_empty() {
            answer.push(' ');
        }
        answer.push_str(&format!("{word}={total}"));
    }
    Ok(answer)
}

/// The message, in memory of this guest.
fn input(size: usize) -> Vec<u8> {
    let mut buf = vec![0; size];
    unsafe { host::input(buf.as_mut_ptr(), size) };
    buf
}

fn increment(key: &str) -> Result<i64, String> {
    let mut total = 0;
    match unsafe { host::state_increment(key.as_ptr(), key.len(), 1, &mut total) } {
        0 => Ok(total),
        _ => Err(reason()),
    }
}

/// Why the last call of the host did not work.
fn reason() -> String {
    unsafe {
        let mut buf = vec![0; host::held(std::ptr::null_mut(), 0) as usize];
        host::held(buf.as_mut_ptr(), buf.len());
        String::from_utf8_lossy(&buf).into_owned()
    }
}
