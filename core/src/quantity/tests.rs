use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    text.parse::<Quantity>()
        .unwrap_or_else(|fault| panic!("{text}: {fault}"))
        .to_string()
}

#[test]
fn text_is_made_canonical() {
    let cases = [
        ("0", "0"),
        ("0Ki", "0"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("1024", "1024"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("12e6", "12e6"),
        ("12000e3", "12e6"),
        ("1E", "1E"),
        ("1E3", "1e3"),
        ("1e-3", "1e-3"),
        ("100k", "100k"),
        ("2000k", "2M"),
        ("+5", "5"),
        ("-5", "-5"),
        (".5", "500m"),
        ("5.", "5"),
        ("001", "1"),
        ("0.0000000001", "1n"),
        ("1.0000000001", "1000000001n"),
        ("123456789012345678901234567890", "9223372036854775807"),
        ("100E", "9223372036854775807"),
        ("1e400", "9223372036854775807e0"),
        ("16Ei", "9223372036854775807"),
    ];
    for (text, expected) in cases {
        let expected = expected.strip_suffix("e0").unwrap_or(expected);
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn nonsense_is_refused() {
    for text in [
        "", "-", ".", "m", "1.2.3", "1ki", "1K", "1 Gi", "1GiB", "e3", "1e", "0x10", "١",
    ] {
        assert!(text.parse::<Quantity>().is_err(), "{text:?} parsed");
    }
}

#[test]
fn reading_rounds_up() {
    let quantity = |text: &str| text.parse::<Quantity>().expect("a quantity");
    assert_eq!(quantity("1500m").value(), 2);
    assert_eq!(quantity("-1500m").value(), -1);
    assert_eq!(quantity("1u").milli_value(), 1);
    assert_eq!(quantity("2").milli_value(), 2000);
    assert_eq!(quantity("1Ki"), quantity("1024"));
    assert!(quantity("1G") < quantity("1Gi"));
    assert_eq!((quantity("1Gi") - quantity("1Mi")).to_string(), "1023Mi");
    assert_eq!((Quantity::ZERO + quantity("1Gi")).to_string(), "1Gi");
    assert_eq!(
        [quantity("100m"), quantity("1")]
            .into_iter()
            .sum::<Quantity>()
            .to_string(),
        "1100m"
    );
}

proptest! {
    #[test]
    fn canonical_text_is_a_fixed_point_and_keeps_the_number(
        negative: bool,
        whole in "[0-9]{1,22}",
        fraction in "(\\.[0-9]{0,24})?",
        suffix in "(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2})?",
    ) {
        let sign = if negative { "-" } else { "" };
        let parsed: Quantity = format!("{sign}{whole}{fraction}{suffix}").parse().expect("well-formed");
        let text = parsed.to_string();
        let again: Quantity = text.parse().expect("canonical text parses");
        prop_assert_eq!(parsed, again, "{}", text);
        prop_assert_eq!(again.to_string(), text.clone());
        prop_assert!(!text.contains('.'));
    }

    #[test]
    fn anything_parses_or_is_refused_without_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<Quantity>();
    }

    #[test]
    fn order_is_that_of_the_numbers(a: i64, b: i64) {
        let (left, right) = (Quantity::whole(a, Form::DecimalSi), Quantity::bytes(b));
        prop_assert_eq!(left.cmp(&right), a.max(-i64::MAX).cmp(&b.max(-i64::MAX)));
    }

    #[test]
    fn sums_of_milli_are_exact(a in -1_000_000_000i64..1_000_000_000, b in -1_000_000_000i64..1_000_000_000) {
        prop_assert_eq!((Quantity::milli(a) + Quantity::milli(b)).milli_value(), a + b);
    }
}
