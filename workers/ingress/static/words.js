// The texts of the page, in English and Russian.

const TEXTS = {
  en: {
    title: "WhatsApp numbers",
    language: "Language",
    signOut: "Sign out",
    signIn: "Sign in",
    signInHint: "Use your CRM account.",
    demo: "Continue as the demo user",
    or: "or",
    email: "E-mail",
    password: "Password",
    wrongPassword: "Incorrect e-mail or password.",
    unreachable: "The server cannot be reached. Try again in a moment.",
    noOrganization: "This account does not belong to an organization.",
    sessionExpired: "Your session has expired. Sign in again.",
    waitingForSession: "Waiting for the application to sign you in …",
    offline: "Connection lost. Reconnecting …",
    summary: { one: "{n} number", other: "{n} numbers" },
    connect: "Connect WhatsApp",
    connectAnother: "Connect another number",
    emptyTitle: "No numbers yet",
    emptyText: "Connect WhatsApp to message your customers from the CRM. All you need to do is scan a QR code.",
    unnamed: "New number",
    account: "Account",
    copyAccount: "Copy the account ID of {name}",
    copied: "Copied",
    rename: "Rename {name}",
    numberName: "Name of this number",
    save: "Save",
    cancel: "Cancel",
    later: "Not now",
    primary: "Primary",
    disabled: "Switched off",
    starting: "Preparing",
    qr_issued: "Waiting for the scan",
    connected: "Connected",
    degraded: "Not responding",
    disconnected: "Disconnected",
    error: "Error",
    closing: "Disconnecting",
    preparing: "Preparing the QR code …",
    takesLong: "This is taking longer than usual. We keep trying.",
    scanTitle: "Scan this QR code with your phone",
    step1: "Open WhatsApp on your phone",
    step2: "Tap Menu or Settings, then Linked devices",
    step3: "Tap Link a device and scan this QR code",
    qrAlt: "QR code to connect {name}",
    renewsIn: "A new code appears in {n} s",
    renewing: "Loading a new code …",
    newCode: "New code",
    fix_reconnect: "Reconnect",
    fix_force_recreate: "Repair with a new key",
    fix_retry: "Try again",
    problem_disconnected: "This number is disconnected: no messages are sent or received.",
    problem_degraded: "This number seems connected, but nothing has arrived since the last message was sent. Is the phone on and online?",
    problem_error: "Something went wrong: {error}",
    problem_key: "The key of this number is no longer valid. Repair it with a new key; its name and messages are kept.",
    lastInbound: "Last message received: {when}",
    lastAck: "Last delivery confirmed: {when}",
    noActivity: "No messages yet",
    makePrimary: "Make primary",
    disable: "Switch off",
    enable: "Switch on",
    history: "History",
    noHistory: "No changes yet.",
    disconnect: "Disconnect",
    confirmTitle: "Disconnect {name}?",
    confirmText: "It will no longer send or receive messages. Its messages are kept. To use it again, scan a new QR code.",
    toastConnected: "{name} is connected",
    toastDisconnected: "{name} is disconnected",
    toastCancelled: "Cancelled. The number was removed.",
    toastPrimary: "{name} is now the primary number",
    toastSaved: "Saved",
    toastFailed: "That did not work: {error}",
    qrReady: "The QR code for {name} is ready to scan.",
    reasons: {
      started: "The account was started",
      "status polled": "Seen in a status check",
      qr: "The platform sent a QR code",
      connected: "Reported by the platform",
      ready: "Reported by the platform",
      offline: "Reported offline by the platform",
      disconnected: "Reported by the platform",
      logout: "Logged out on the phone",
      removed: "Disconnected by your organization",
      "webhook received": "Active again",
      "the code was not scanned in time": "The QR code was not scanned in time",
      "no webhook since a message was sent": "Nothing has arrived since a message was sent",
      "the platform reports the account offline": "Reported offline by the platform",
      "the platform restarts the account": "Restarted by the platform",
      "the phone is no longer linked": "The phone is no longer linked",
    },
  },
  ru: {
    title: "Номера WhatsApp",
    language: "Язык",
    signOut: "Выйти",
    signIn: "Войти",
    signInHint: "Используйте учётную запись CRM.",
    demo: "Войти как демо-пользователь",
    or: "или",
    email: "Эл. почта",
    password: "Пароль",
    wrongPassword: "Неверная почта или пароль.",
    unreachable: "Сервер не отвечает. Попробуйте ещё раз чуть позже.",
    noOrganization: "Эта учётная запись не относится ни к одной организации.",
    sessionExpired: "Сеанс истёк. Войдите ещё раз.",
    waitingForSession: "Ожидаем вход через приложение …",
    offline: "Связь потеряна. Подключаемся снова …",
    summary: { one: "{n} номер", few: "{n} номера", many: "{n} номеров", other: "{n} номера" },
    connect: "Подключить WhatsApp",
    connectAnother: "Подключить ещё один номер",
    emptyTitle: "Номеров пока нет",
    emptyText: "Подключите WhatsApp и пишите клиентам прямо из CRM. Достаточно отсканировать QR-код.",
    unnamed: "Новый номер",
    account: "Аккаунт",
    copyAccount: "Скопировать ID аккаунта: {name}",
    copied: "Скопировано",
    rename: "Переименовать: {name}",
    numberName: "Название номера",
    save: "Сохранить",
    cancel: "Отмена",
    later: "Не сейчас",
    primary: "Основной",
    disabled: "Выключен",
    starting: "Готовим",
    qr_issued: "Ждём сканирования",
    connected: "Подключён",
    degraded: "Не отвечает",
    disconnected: "Отключён",
    error: "Ошибка",
    closing: "Отключаем",
    preparing: "Готовим QR-код …",
    takesLong: "Это занимает больше времени, чем обычно. Продолжаем пробовать.",
    scanTitle: "Отсканируйте QR-код телефоном",
    step1: "Откройте WhatsApp на телефоне",
    step2: "Нажмите «Меню» или «Настройки», затем «Связанные устройства»",
    step3: "Нажмите «Привязка устройства» и отсканируйте QR-код",
    qrAlt: "QR-код для подключения: {name}",
    renewsIn: "Новый код появится через {n} с",
    renewing: "Загружаем новый код …",
    newCode: "Новый код",
    fix_reconnect: "Подключить снова",
    fix_force_recreate: "Восстановить с новым ключом",
    fix_retry: "Попробовать ещё раз",
    problem_disconnected: "Номер отключён: сообщения не отправляются и не приходят.",
    problem_degraded: "Номер считается подключённым, но после отправки последнего сообщения ничего не приходит. Телефон включён и в сети?",
    problem_error: "Что-то пошло не так: {error}",
    problem_key: "Ключ этого номера больше не действует. Восстановите номер с новым ключом: название и сообщения сохранятся.",
    lastInbound: "Последнее входящее: {when}",
    lastAck: "Последнее подтверждение доставки: {when}",
    noActivity: "Сообщений пока не было",
    makePrimary: "Сделать основным",
    disable: "Выключить",
    enable: "Включить",
    history: "История",
    noHistory: "Изменений пока нет.",
    disconnect: "Отключить",
    confirmTitle: "Отключить {name}?",
    confirmText: "Сообщения через этот номер больше не будут отправляться и приходить. Переписка сохранится. Чтобы вернуть номер, отсканируйте новый QR-код.",
    toastConnected: "{name}: подключён",
    toastDisconnected: "{name}: отключён",
    toastCancelled: "Отменено. Номер удалён.",
    toastPrimary: "{name} теперь основной номер",
    toastSaved: "Сохранено",
    toastFailed: "Не получилось: {error}",
    qrReady: "QR-код готов к сканированию: {name}.",
    reasons: {
      started: "Аккаунт запущен",
      "status polled": "По результату проверки",
      qr: "Платформа прислала QR-код",
      connected: "По сообщению платформы",
      ready: "По сообщению платформы",
      offline: "По сообщению платформы: не в сети",
      disconnected: "По сообщению платформы",
      logout: "Выход на телефоне",
      removed: "Отключено вашей организацией",
      "webhook received": "Снова активен",
      "the code was not scanned in time": "QR-код не отсканировали вовремя",
      "no webhook since a message was sent": "После отправки сообщения ничего не приходит",
      "the platform reports the account offline": "По сообщению платформы: не в сети",
      "the platform restarts the account": "Перезапускается платформой",
      "the phone is no longer linked": "Телефон больше не привязан",
    },
  },
};

const STORAGE_KEY = "wpp-language";
let current = detectLanguage();

function detectLanguage() {
  const requested = new URLSearchParams(location.search).get("lang") || storedLanguage() || navigator.language;
  return requested.toLowerCase().startsWith("ru") ? "ru" : "en";
}

/** In a frame of another site the browser may deny access to the storage. */
function storedLanguage() {
  try { return localStorage.getItem(STORAGE_KEY); } catch { return null; }
}

export const language = () => current;

export function setLanguage(value) {
  current = value;
  try { localStorage.setItem(STORAGE_KEY, value); } catch { /* used until the page is closed */ }
}

/** Return a text in the current language; `values` fill its placeholders, and `n` selects its plural. */
export function translate(key, values = {}) {
  let text = TEXTS[current][key] ?? key;
  if (typeof text === "object") text = text[new Intl.PluralRules(current).select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Return the reason of a status in the current language; an unknown reason is returned as it is. */
export const translateReason = (reason) => TEXTS[current].reasons[reason] ?? reason;

/** Translate the static elements below `root`: data-text is their content, data-label their name. */
export function translateElements(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = translate(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", translate(element.dataset.label));
}

/** Return how long ago a time was: "5 minutes ago". */
export function formatAge(time) {
  const seconds = Math.round((new Date(time) - Date.now()) / 1000);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, each]) => Math.abs(seconds) >= each) ?? units[3];
  return new Intl.RelativeTimeFormat(current, { numeric: "auto" }).format(Math.min(0, Math.round(seconds / size)), unit);
}

export const formatTime = (time) => new Date(time).toLocaleString(current, { dateStyle: "short", timeStyle: "medium" });
