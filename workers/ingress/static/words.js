// What the page says, in two languages.

const WORDS = {
  en: {
    title: "WhatsApp numbers",
    language: "Language",
    leave: "Sign out",
    signIn: "Sign in",
    signInWhy: "Use your account of the CRM.",
    demo: "Continue as the demo user",
    or: "or",
    email: "E-mail",
    password: "Password",
    wrongPassword: "This e-mail and password do not fit.",
    notReached: "The server cannot be reached. Try again in a moment.",
    noMember: "This account belongs to no organization.",
    sessionOver: "Your session has ended. Sign in again.",
    handed: "Waiting for the application around this page.",
    stale: "No connection. Trying again …",
    summary: { one: "{n} number", other: "{n} numbers" },
    connect: "Connect WhatsApp",
    connectAnother: "Connect another number",
    emptyTitle: "No number yet",
    emptyText: "Connect your WhatsApp and write to customers from the CRM. All it takes is one scan.",
    unnamed: "New number",
    account: "Account",
    copy: "Copy the account’s id of {name}",
    copied: "Copied",
    rename: "Rename {name}",
    newName: "Name of this number",
    save: "Save",
    cancel: "Cancel",
    later: "Not now",
    primary: "Primary",
    off: "Switched off",
    starting: "Preparing",
    qr_issued: "Waiting for the scan",
    connected: "Connected",
    degraded: "No sign of life",
    disconnected: "Disconnected",
    error: "Error",
    closing: "Disconnecting",
    preparing: "Preparing your code …",
    waitsFor: "Taking longer than usual. We keep trying by ourselves.",
    scanTitle: "Scan this code with your phone",
    step1: "Open WhatsApp on the phone",
    step2: "Tap Menu or Settings, then Linked devices",
    step3: "Tap Link a device and scan this code",
    codeAlt: "QR code that connects {name}",
    renews: "Renews itself in {n} s",
    renewing: "A new code is on its way …",
    newCode: "New code",
    mend_reconnect: "Connect again",
    mend_force_recreate: "Repair with a new key",
    mend_retry: "Try again",
    why_disconnected: "This number is not connected, so nothing is sent or received.",
    why_degraded: "It says it is connected, but nothing was heard since a message went out. Is the phone on?",
    why_error: "Something went wrong: {error}",
    why_key: "The key of this number is no longer valid. A new one repairs it; name and messages stay.",
    lifeIn: "Last message in: {when}",
    lifeAck: "Last confirmation: {when}",
    lifeNone: "Nothing sent or received yet",
    makePrimary: "Make primary",
    switchOff: "Switch off",
    switchOn: "Switch on",
    history: "History",
    noHistory: "Nothing has happened yet.",
    disconnect: "Disconnect",
    keep: "Keep it",
    askTitle: "Disconnect {name}?",
    askText: "Nothing will be sent or received through it. Its messages stay. To use it again, scan a new code.",
    toastConnected: "{name} is connected",
    toastGone: "{name} is disconnected",
    toastCancelled: "Cancelled. Nothing is left of it.",
    toastPrimary: "{name} is the primary number now",
    toastSaved: "Saved",
    toastFailed: "That did not work: {error}",
    because: {
      started: "The account was started",
      "status polled": "Seen by a look at the platform",
      qr: "The platform sent a code",
      connected: "The platform reported it",
      ready: "The platform reported it",
      offline: "The platform reported it offline",
      disconnected: "The platform reported it",
      logout: "The phone logged it out",
      removed: "Disconnected by your organization",
      "webhook received": "Something was heard of it again",
      "the code was not scanned in time": "Nobody scanned the code in time",
      "no webhook since a message was sent": "Nothing was heard since a message went out",
      "the platform reports the account offline": "The platform says it is offline",
      "the phone is no longer linked": "Its phone is no longer linked",
    },
    toldCode: "The code for {name} is ready to be scanned.",
  },
  ru: {
    title: "Номера WhatsApp",
    language: "Язык",
    leave: "Выйти",
    signIn: "Войти",
    signInWhy: "Войдите с учётной записью CRM.",
    demo: "Войти как демо-пользователь",
    or: "или",
    email: "Эл. почта",
    password: "Пароль",
    wrongPassword: "Почта и пароль не подходят.",
    notReached: "Сервер не отвечает. Попробуйте ещё раз через минуту.",
    noMember: "Эта учётная запись не принадлежит ни одной организации.",
    sessionOver: "Сеанс завершён. Войдите ещё раз.",
    handed: "Ждём приложение, в которое встроена эта страница.",
    stale: "Нет связи. Пробуем снова …",
    summary: { one: "{n} номер", few: "{n} номера", many: "{n} номеров", other: "{n} номера" },
    connect: "Подключить WhatsApp",
    connectAnother: "Подключить ещё один номер",
    emptyTitle: "Номеров пока нет",
    emptyText: "Подключите WhatsApp и пишите клиентам прямо из CRM. Достаточно одного сканирования.",
    unnamed: "Новый номер",
    account: "Аккаунт",
    copy: "Скопировать идентификатор аккаунта: {name}",
    copied: "Скопировано",
    rename: "Переименовать: {name}",
    newName: "Название номера",
    save: "Сохранить",
    cancel: "Отмена",
    later: "Не сейчас",
    primary: "Основной",
    off: "Выключен",
    starting: "Готовим",
    qr_issued: "Ждём сканирования",
    connected: "Подключён",
    degraded: "Нет признаков жизни",
    disconnected: "Отключён",
    error: "Ошибка",
    closing: "Отключаем",
    preparing: "Готовим код …",
    waitsFor: "Дольше обычного. Продолжаем пробовать сами.",
    scanTitle: "Отсканируйте код телефоном",
    step1: "Откройте WhatsApp на телефоне",
    step2: "Нажмите «Меню» или «Настройки», затем «Связанные устройства»",
    step3: "Нажмите «Привязка устройства» и отсканируйте код",
    codeAlt: "QR-код для подключения: {name}",
    renews: "Обновится сам через {n} с",
    renewing: "Новый код уже в пути …",
    newCode: "Новый код",
    mend_reconnect: "Подключить снова",
    mend_force_recreate: "Восстановить с новым ключом",
    mend_retry: "Попробовать ещё раз",
    why_disconnected: "Номер не подключён: сообщения не отправляются и не приходят.",
    why_degraded: "Номер считается подключённым, но после отправки ничего не слышно. Телефон включён?",
    why_error: "Что-то пошло не так: {error}",
    why_key: "Ключ этого номера больше не действует. Новый ключ всё исправит; имя и сообщения останутся.",
    lifeIn: "Последнее входящее: {when}",
    lifeAck: "Последнее подтверждение: {when}",
    lifeNone: "Сообщений пока не было",
    makePrimary: "Сделать основным",
    switchOff: "Выключить",
    switchOn: "Включить",
    history: "История",
    noHistory: "Пока ничего не произошло.",
    disconnect: "Отключить",
    keep: "Оставить",
    askTitle: "Отключить {name}?",
    askText: "Через этот номер ничего не будет отправляться и приходить. Сообщения останутся. Чтобы вернуть его, отсканируйте новый код.",
    toastConnected: "{name}: подключён",
    toastGone: "{name}: отключён",
    toastCancelled: "Отменено. Ничего не осталось.",
    toastPrimary: "{name} теперь основной номер",
    toastSaved: "Сохранено",
    toastFailed: "Не получилось: {error}",
    because: {
      started: "Аккаунт запущен",
      "status polled": "Увидели при проверке",
      qr: "Платформа прислала код",
      connected: "Сообщила платформа",
      ready: "Сообщила платформа",
      offline: "Платформа сообщила: не в сети",
      disconnected: "Сообщила платформа",
      logout: "Выход на телефоне",
      removed: "Отключено вашей организацией",
      "webhook received": "Номер снова подал признаки жизни",
      "the code was not scanned in time": "Код не отсканировали вовремя",
      "no webhook since a message was sent": "После отправки ничего не слышно",
      "the platform reports the account offline": "Платформа говорит: не в сети",
      "the phone is no longer linked": "Телефон больше не привязан",
    },
    toldCode: "Код готов к сканированию: {name}.",
  },
};

const KEPT = "wpp-language";
let chosen = first();

function first() {
  const asked = new URLSearchParams(location.search).get("lang") || recall() || navigator.language;
  return asked.toLowerCase().startsWith("ru") ? "ru" : "en";
}

/** A page in a foreign frame may have no storage: then it forgets. */
function recall() {
  try { return localStorage.getItem(KEPT); } catch { return null; }
}

export const language = () => chosen;

export function say(key, values = {}) {
  let text = WORDS[chosen][key] ?? key;
  if (typeof text === "object") text = text[new Intl.PluralRules(chosen).select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Why a number changed, in words; what we have no words for is said as it was told. */
export const because = (reason) => WORDS[chosen].because[reason] ?? reason;

export function speak(wanted) {
  chosen = wanted;
  try { localStorage.setItem(KEPT, wanted); } catch { /* forgotten, then */ }
}

/** Put the words into what stands still: elements with data-say, and with data-label. */
export function label(root) {
  for (const element of root.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
}

export function ago(time) {
  const seconds = Math.round((new Date(time) - Date.now()) / 1000);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, each]) => Math.abs(seconds) >= each) ?? units[3];
  return new Intl.RelativeTimeFormat(chosen, { numeric: "auto" }).format(Math.min(0, Math.round(seconds / size)), unit);
}

export const clock = (time) => new Date(time).toLocaleString(chosen, { dateStyle: "short", timeStyle: "medium" });
