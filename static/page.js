// The page around the element: it chooses the language and sets it on the element.
const STORAGE_KEY = 'tautan-lang';
const link = document.querySelector('whatsapp-link');
const choice = document.getElementById('lang');

function use(option) {
  const { value: lang, dir, dataset } = option;
  Object.assign(document.documentElement, { lang, dir });
  document.title = document.getElementById('page-title').textContent = dataset.title;
  link.setAttribute('lang', lang);
  option.selected = true;
}

// Storage may be forbidden or full. The chosen language is then forgotten when the page is closed.
function storedLanguage() {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null;
  }
}

function storeLanguage(lang) {
  try {
    localStorage.setItem(STORAGE_KEY, lang);
  } catch {
    // As above.
  }
}

choice.addEventListener('change', () => {
  storeLanguage(choice.value);
  use(choice.selectedOptions[0]);
});

// The server wrote the previous tenant's name into this page.
link.addEventListener('tenant-changed', () => location.reload());

const lang = storedLanguage();
use([...choice.options].find(({ value }) => value === lang) ?? choice.selectedOptions[0]);
