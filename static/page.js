// The page around the card: it knows the language and hands it down.
const KEPT = 'tautan-lang';
const link = document.querySelector('whatsapp-link');
const choice = document.getElementById('lang');

function use(option) {
  const { value: lang, dir, dataset } = option;
  Object.assign(document.documentElement, { lang, dir });
  document.title = document.getElementById('page-title').textContent = dataset.title;
  link.setAttribute('lang', lang);
  option.selected = true;
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

choice.addEventListener('change', () => {
  keep(choice.value);
  use(choice.selectedOptions[0]);
});

// The page was made for the tenant before: its name stands in it.
link.addEventListener('tenant-changed', () => location.reload());

const lang = kept();
use([...choice.options].find(({ value }) => value === lang) ?? choice.selectedOptions[0]);
