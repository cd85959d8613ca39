#[test]
fn a_new_vector_is_empty() {
    let numbers: Vec<u32> = Vec::new();
    assert!(numbers.¦
}

#[test]
fn a_vector_of_one_is_not_empty() {
    let numbers = vec![1];
    assert!(!numbers.¦
}

#[test]
fn a_cleared_vector_is_empty() {
    let mut numbers = vec![1];
    numbers.clear();
    assert!(numbers.¦
}
