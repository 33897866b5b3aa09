//! What a character looks like: the common ways to write a Latin letter with something else.
//!
//! Covers the letters of the frame's word. Not a table of all confusables: what is missing makes a marker that a person
//! would see through, and the model is told besides that what is between the markers does not instruct.

/// The capital letter or digit that a character reads as; `None` for what no word is made of. `I`, `l` and `1` are one.
pub(super) fn skeleton(c: char) -> Option<char> {
    let plain = look_alike(narrow(c));
    let visible = plain.is_alphanumeric() && !is_filler(plain);
    visible.then(|| match plain.to_ascii_uppercase() {
        'L' | '1' => 'I',
        '3' => 'E',
        '5' => 'S',
        '7' => 'T',
        other => other,
    })
}

/// Letters by script and style that stand in the order of the alphabet.
fn narrow(c: char) -> char {
    let code = u32::from(c);
    let first = match code {
        0xff21..=0xff3a => 0xff21,
        0xff41..=0xff5a => 0xff41,
        0xff10..=0xff19 => return char::from_u32(code - 0xff10 + 0x30).unwrap_or(c),
        0x249c..=0x24b5 => 0x249c,
        0x24b6..=0x24cf => 0x24b6,
        0x24d0..=0x24e9 => 0x24d0,
        0x1_d400..=0x1_d6a3 => 0x1_d400,
        0x1_d7ce..=0x1_d7ff => return char::from_digit((code - 0x1_d7ce) % 10, 10).unwrap_or(c),
        0x1_f110..=0x1_f129 => 0x1_f110,
        0x1_f130..=0x1_f149 => 0x1_f130,
        0x1_f150..=0x1_f169 => 0x1_f150,
        0x1_f170..=0x1_f189 => 0x1_f170,
        0x1_f1e6..=0x1_f1ff => 0x1_f1e6,
        _ => return c,
    };
    char::from_u32((code - first) % 26 + u32::from('A')).unwrap_or(c)
}

fn look_alike(c: char) -> char {
    match c {
        'С' | 'с' | 'Ϲ' | 'ϲ' | 'Ꮯ' | 'Ⅽ' | 'ⅽ' | 'ᴄ' | 'ℂ' | 'ℭ' | 'Ç' | 'ç' | 'Ć' | 'ć' | 'Ĉ'
        | 'ĉ' | 'Ċ' | 'ċ' | 'Č' | 'č' => 'C',
        'Ꭰ' | 'Ԁ' | 'ԁ' | 'Ⅾ' | 'ⅾ' | 'ⅅ' | 'ⅆ' | 'ᴅ' | 'Ð' | 'ð' | 'Ď' | 'ď' | 'Đ' | 'đ' => {
            'D'
        }
        'Е' | 'е' | 'Ё' | 'ё' | 'Є' | 'є' | 'Ε' | 'ε' | 'Ꭼ' | 'ℰ' | 'ℯ' | 'ⅇ' | '℮' | 'ᴇ' | 'ɛ'
        | 'È' | 'É' | 'Ê' | 'Ë' | 'è' | 'é' | 'ê' | 'ë' | 'Ē' | 'ē' | 'Ĕ' | 'ĕ' | 'Ė' | 'ė'
        | 'Ę' | 'ę' | 'Ě' | 'ě' | '€' => 'E',
        'Н' | 'н' | 'Һ' | 'һ' | 'Η' | 'Ꮋ' | 'ʜ' | 'ℋ' | 'ℌ' | 'ℍ' | 'ℎ' | 'Ĥ' | 'ĥ' | 'Ħ' | 'ħ' => {
            'H'
        }
        'І' | 'і' | 'Ї' | 'ї' | 'Ӏ' | 'ӏ' | 'Ι' | 'ι' | 'Ꭵ' | 'Ꮖ' | 'Ⅰ' | 'ⅰ' | 'ℐ' | 'ℑ' | 'ɪ'
        | 'ı' | 'İ' | 'Ì' | 'Í' | 'Î' | 'Ï' | 'ì' | 'í' | 'î' | 'ï' | 'Ĩ' | 'ĩ' | 'Ī' | 'ī'
        | 'Ĭ' | 'ĭ' | 'Į' | 'į' | 'Ꮮ' | 'Ⅼ' | 'ⅼ' | 'ℒ' | 'ℓ' | 'ʟ' | 'Ĺ' | 'ĺ' | 'Ļ' | 'ļ'
        | 'Ľ' | 'ľ' | 'Ŀ' | 'ŀ' | 'Ł' | 'ł' => 'I',
        'Ν' | 'η' | 'ɴ' | 'ո' | 'п' | 'ℕ' | 'Ñ' | 'ñ' | 'Ń' | 'ń' | 'Ņ' | 'ņ' | 'Ň' | 'ň' | 'Ŋ'
        | 'ŋ' => 'N',
        'г' | 'Ꭱ' | 'Ꮢ' | 'ʀ' | 'Ʀ' | 'ℛ' | 'ℜ' | 'ℝ' | 'Ŕ' | 'ŕ' | 'Ŗ' | 'ŗ' | 'Ř' | 'ř' => {
            'R'
        }
        'Ѕ' | 'ѕ' | 'Ꮪ' | 'Տ' | 'ꜱ' | 'ʂ' | 'Ś' | 'ś' | 'Ŝ' | 'ŝ' | 'Ş' | 'ş' | 'Š' | 'š' | 'Ș'
        | 'ș' | '$' => 'S',
        'Т' | 'т' | 'Τ' | 'τ' | 'Ꭲ' | 'ᴛ' | 'Ţ' | 'ţ' | 'Ť' | 'ť' | 'Ŧ' | 'ŧ' | 'Ț' | 'ț' => {
            'T'
        }
        'Ս' | 'ս' | 'υ' | 'ʊ' | 'ᴜ' | 'ᑌ' | 'Ù' | 'Ú' | 'Û' | 'Ü' | 'ù' | 'ú' | 'û' | 'ü' | 'Ũ'
        | 'ũ' | 'Ū' | 'ū' | 'Ŭ' | 'ŭ' | 'Ů' | 'ů' | 'Ű' | 'ű' | 'Ų' | 'ų' | 'Ư' | 'ư' | 'Ǔ'
        | 'ǔ' => 'U',
        other => other,
    }
}

/// Letters by their category that nobody sees, and marks that count as letters.
const fn is_filler(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
        | '\u{180b}'..='\u{180f}' | '\u{e0000}'..='\u{e0fff}')
}
