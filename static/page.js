// The page around the card: it knows the language and hands it down.
const KEPT = 'tautan-lang';
const LANGS = ['id', 'en'];
const link = document.querySelector('whatsapp-link');

function use(lang) {
  document.documentElement.lang = lang;
  document.title = document.querySelector(`#page-title [lang=${lang}]`).textContent;
  link.setAttribute('lang', lang);
  for (const each of LANGS) document.getElementById(`lang-${each}`).setAttribute('aria-pressed', String(each === lang));
}

// Storage may be forbidden or full; the language then lasts as long as the page.
function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(lang) {
  try {
    localStorage.setItem(KEPT, lang);
  } catch {
    // As above.
  }
}

for (const lang of LANGS) {
  document.getElementById(`lang-${lang}`).addEventListener('click', () => {
    keep(lang);
    use(lang);
  });
}

// The page was made for the tenant before: its name stands in it.
link.addEventListener('tenant-changed', () => location.reload());

const asked = [kept(), document.documentElement.lang].find((lang) => LANGS.includes(lang));
use(asked ?? 'id');
