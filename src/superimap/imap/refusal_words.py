"""Wording of refused logins, in several languages; tests/unit/test_imap_refusals.py has the texts of servers."""

import re

_ALPHABETS_END = "\u2e80"  # the scripts of East Asia, which put no blanks between words, are behind it


def _words(*patterns: str) -> re.Pattern[str]:
    """Compile patterns that begin at the beginning of a word, if they begin with a letter of an alphabet.

    A pattern in "~" may begin within a word, as German compounds do. They end anywhere, unless they say otherwise.
    """
    anywhere = [each.removeprefix("~") for each in patterns if each[0] == "~" or max(each) > _ALPHABETS_END]
    at_words = [each for each in patterns if each[0] != "~" and max(each) <= _ALPHABETS_END]
    return re.compile("|".join([rf"(?<![^\W\d_])(?:{'|'.join(at_words)})", *anywhere]), re.IGNORECASE)


_FEW = r"(?:\S+ ){0,3}?"  # up to three words
_WRONG = r"(?:invalid|incorrect|wrong|bad|unknown|unrecogni[sz]ed|illegal|mistyped|non-?existing)"

ACCOUNT = _words(
    # The credentials are wrong.
    rf"{_WRONG} (?:e-?mail|user|log-?in|log-?on|account|mailbox|pass|credential|name|identity"
    rf"|(?:access )?token)",
    rf"{_WRONG} auth\w* (?:credential|data|info)",
    rf"(?:user|log-?in|pass(?:word|wd)|account|credential|e-?mail|mailbox|name|subscription"
    rf"|licen[sc]e)\S* {_FEW}(?:is |are "
    rf"|was |has been )?"
    r"(?:not (?:correct|valid|found|known|exist|accepted|match|recogni[sz]ed|activated|active\b"
    r"|enabled)|unknown|invalid"
    r"|incorrect|wrong|mismatch|rejected|expired|revoked)",
    r"(?:user|log-?in|pass(?:word|wd)|credential|name)\S* (?:error|mismatch|bad\b)",
    r"err\.login\.(?:user|pass)", "does ?n[o']t exist", "no such (?:user|account|mailbox|login|domain)",
    r"user .{0,80}not found", "not a valid (?:user|account|login)", "(?:must|please) change (?:your )?password",
    # The account is closed to this client, or to any.
    r"(?:blocked|disabled|suspended|locked|closed) your (?:account|mailbox|access)",
    rf"(?:account|user|mailbox|domain|access|e-?mail)\S* {_FEW}(?:is |are |was |has been )?(?:disabled"
    rf"|blocked|suspended|closed"
    r"|deactivated|terminated|deleted|frozen|hibernated|inactive|banned|abnormal)",
    rf"(?:account|user)\S* {_FEW}(?:locked(?! by)|lockout)", "unsafe log-?in",
    "verify your (?:identity|account)", r"web.?(?:log-?in|browser|mail|interface)",
    r"(?:please|must|first|need to) .{0,20}(?:log|sign) ?in", r"(?:log|sign) ?in (?:via|through) ",
    r"(?:disabled|blocked|suspended|denied|not (?:allowed|permitted|enabled)) for (?:this|your|the"
    r"|that) "
    r"(?:account|user|mailbox|domain|login)",
    # IMAP is switched off, or takes another kind of password.
    "(?:enable|activate|allow|no) imap", r"(?:user|account)\S* (?:is )?not (?:permitted|allowed|authori)",
    r"(?:enabled?|activated?) .{0,30}\bimap\b", "service is not open",
    r"(?:imap4?|imap4rev1)\b (?:(?!auth|log|command|idle)\S+ ){0,5}?(?:disabled|deactivated|blocked"
    r"|denied|turned off"
    r"|switched off|not (?:enabled|allowed|permitted|activated|active|authori[sz]ed|licensed))",
    r"(?:disabled|deactivated|no permission|not (?:enabled|allowed|permitted"
    r"|authori[sz]ed)) (?:\S+ ){0,4}?imap",
    r"app(?:lication)?[ -]?(?:specific)?[ -]?password",
    r"(?:use|using) .{0,20}(?:auth\w*|client) (?:code|password)", "basic auth",
    r"(?:use|requires?) (?:modern auth|x?oauth)", r"x?oauth\S* (?:is )?required", "less secure app",
    r"(?:un|not )available (?:for|to|on|in|with) (?:this|your|the|free|basic)", "upgrade (?:your|to)",
    r"(?:paid|premium) (?:account|plan|user|subsc)", "insufficient (?:priv|perm|right|access)",
    r"two.?factor|2fa\b|multi.?factor|second factor|verification code|one.?time (?:code|password)",
    r"(?:plain|clear) ?text (?:auth|pass|log).{0,60}(?:tls|ssl|secur|encrypt)",
    r"use starttls|starttls (?:is )?(?:required|first)|(?:over|requires?) an? (?:tls|ssl|secure)",
    # German, Dutch, Scandinavian.
    r"(?:falsche|ungültige|unbekannte)\w* (?:passw|kennw|benutzer|zugang|anmelde|konto|login)",
    rf"(?:passwort|kennwort|benutzername|zugangsdaten|anmeldedaten) {_FEW}(?:falsch|ungültig"
    rf"|abgelaufen|nicht korrekt)",
    rf"(?:konto|postfach|zugang|account|benutzer) {_FEW}(?:gesperrt|unbekannt|deaktiviert|gekündigt"
    rf"|geschlossen|existiert nicht)",
    r"imap.{0,30} (?:deaktiviert|nicht (?:aktiviert|freigeschaltet))",
    r"(?:onjuiste?|ongeldige?|verkeerde?) (?:wachtwoord|gebruikers|inlog)",
    rf"(?:wachtwoord|gebruikersnaam|inloggegevens) {_FEW}(?:onjuist|ongeldig|verkeerd|fout|verlopen)",
    rf"account {_FEW}(?:geblokkeerd|uitgeschakeld|opgeschort|vergrendeld|spärra|sperret)",
    r"(?:fel|ogiltigt|feil|forkert|ugyldigt?) (?:lösenord|passord|adgangskode|användar|bruker|bruger)",
    # Romance languages.
    rf"(?:mot de passe|identifiants?|utilisateur) {_FEW}(?:incorrect|invalide|erron|expir|inconnu)",
    rf"compte {_FEW}(?:bloqu|suspend|désactiv|verrouill|inconnu|inexist)",
    rf"(?:contraseña|usuario|credencial\w*|clave) {_FEW}(?:incorrect|inválid|no (?:es )?válid|erróne"
    rf"|expir|no existe)",
    rf"(?:cuenta|conta) {_FEW}(?:bloquead|suspend|suspens|desactivad|desativad|cancelad)",
    rf"(?:senha|usuário|credenciais) {_FEW}(?:incorret|inválid|errad|expir)",
    rf"(?:password|credenziali|utente) {_FEW}(?:errat|non valid|non abilitat|scadut|non corrett"
    rf"|sconosciut|inesistent)",
    rf"account {_FEW}(?:bloccat|sospes|disattivat|bloquead)",
    # Slavic languages, Turkish, Hungarian.
    r"(?:nieprawidłow|błędn|niepoprawn)\w+ (?:hasło|login|nazwa|dane|użytk)",
    rf"hasło {_FEW}(?:nieprawidł|błędn|wygas)", rf"(?:konto|účet) {_FEW}(?:zablok|zawiesz|nieaktywn|pozastav)",
    r"(?:nesprávn|špatn|neplatn|chybn)\w+ (?:heslo|jméno|přihl)",
    rf"(?:неверн|неправильн|некорректн|невірн)\w* {_FEW}(?:парол|логин|логін|имя|данны)",
    rf"парол\w* {_FEW}(?:неверн|неправ|истек|устарел|невірн)", r"парол\w+ (?:для )?(?:внешн\w+ )?приложен",
    "parol prilozh",
    rf"(?:аккаунт|уч[её]тная запись|ящик|пользователь)\w* {_FEW}(?:заблок|отключ|удал[её]н|не найден"
    rf"|не существует|приостан)",
    r"(?:yanlış|hatalı|geçersiz) (?:şifre|parola|kullanıcı)",
    rf"(?:şifre|parola|kullanıcı|hesap)\w* {_FEW}(?:yanlış|hatalı|geçersiz|kilit|askıya)",
    r"(?:hibás|érvénytelen|helytelen|rossz) (?:jelsz|felhaszn|azonos)",
    rf"(?:jelszó|felhasználónév)\S* {_FEW}(?:hibás|érvénytelen|helytelen|lejárt)",
    # Finnish, Croatian and its neighbours, Greek, Vietnamese, Indonesian.
    rf"(?:virheelli|väär)\w+ {_FEW}(?:käyttäj|salasan|tunnus)",
    rf"(?:salasana|käyttäjätunnus|tunnus) {_FEW}(?:virheelli|väär|vanhentun|lukit)",
    r"(?:pogrešn|neispravn|netočn|nevažeć|napačn)\w* (?:lozink|korisničk|zapork|gesl|uporabn)",
    rf"(?:lozinka|korisničko ime|zaporka|geslo) {_FEW}(?:neispravn|pogrešn|netočn|nevažeć|istekla|napačn)",
    rf"(?:λάθος|λανθασμέν\w*|εσφαλμέν\w*|άκυρ\w*|μη έγκυρ\w*) {_FEW}(?:κωδικ|όνομα|συνθηματικ|στοιχεί)",
    rf"(?:κωδικός|όνομα χρήστη|συνθηματικό)\S* {_FEW}(?:λάθος|λανθασμέν|εσφαλμέν|άκυρ|έληξε)",
    "sai (?:mật khẩu|tên)", "(?:mật khẩu|tên đăng nhập|tài khoản|người dùng).{0,25}?(?:sai|không (?:đúng|chính xác"
    "|hợp lệ|tồn tại)|bị khóa|hết hạn)",
    rf"(?:kata sandi|sandi|nama pengguna|pengguna|akun) {_FEW}(?:salah|diblokir|dinonaktifkan|kedaluwarsa"
    r"|tidak (?:valid|sah|ditemukan|cocok|terdaftar))",
    # Hebrew and Arabic, which put articles in front of words, and Thai.
    "~(?:סיסמ[הא]|משתמש).{0,25}(?:שגוי|לא נכו|אינה נכו|אינו נכו|לא תקי|פג תוקפ)",
    "~(?:كلمة ال(?:مرور|سر)|اسم المستخدم|الحساب).{0,30}(?:غير صحيح|غير صالح|خاطئ|خطأ|محظور|معطل)",
    "~(?:รหัสผ่าน|ชื่อผู้ใช้|บัญชี).{0,30}(?:ผิด|ไม่ถูกต้อง|ไม่พบ|หมดอายุ|ถูกระงับ|ถูกล็อก)",
    # Chinese, Japanese, Korean.
    "(?:密码|密碼|帐号|账号|帳號|用户|用户名|用戶名|账户|帐户|口令|授权码).{0,10}(?:错误|錯誤|不正确"
    "|不正確|不匹配|无效|不存在|过期|锁定|冻结|禁用|停用|异常|封)",
    "(?:错误|无效)的?(?:密码|账号)", "授权码",
    "(?:パスワード|ユーザー|アカウント).{0,20}(?:違|誤|正しく|無効|ロック|停止|存在しま)",
    "(?:비밀번호|아이디|계정|사용자).{0,20}(?:틀|잘못|일치하지|올바르지|없|잠|정지|만료|차단)",
)  # fmt: skip
"""The credentials are wrong, or the account's owner must do something. No later login would succeed."""

METHOD = _words(
    "unsupport", "not supported", "not implemented", "not understood",
    r"no (?:\w+ )?(?:mechanism|auth\w* method)",
    r"(?:un(?:known|recogni[sz]ed|expected)|invalid|illegal|bad|missing|wrong) (?:sasl |imap "
    r"|auth\w* )?(?:command|argument"
    r"|parameter|mechanism|method|type\b|scheme|sequence|sasl|base|syntax|character|literal|state"
    r"|tag\b|initial|encoding)",
    r"(?:command|argument|parameter|mechanism|method)s? (?:\w+ ){0,2}?(?:not |un[a-z]|error|invalid"
    r"|in invalid|disabled"
    r"|syntax|disallow|forbidden|rejected)",
    r"(?:log-?in|authenticate|plain|(?:auth|authentication|sasl)(?: plain| log-?in)?) (?:is "
    r"|has been )?(?:disabled\b(?! for)"
    r"|disallowed|not (?:enabled|allowed\b(?! from| for)|permitted\b(?! from| for)|implemented"
    r"|offered))",
    r"use authenticate\b",
    r"(?:log-?in|authenticate|plain) (?:is )?(?:forbidden|prohibited|not available(?! at| now| cur))",
    r"(?:plain|clear)[ -]?text \w+ (?:is )?(?:not|dis)", r"mechanism (?:is )?too", r"error in imap command",
    r"syntax\b", r"pars(?:e|er|ing)\b", "not ending with", "malformed", r"base-?64\b", "initial response",
    r"login <?user\w*>? <?pass\w*", "expected (?:end|atom|string|space|a |an )",
    r"(?:decod|protocol)\w* error|(?:cannot|can't|could not|failed to) decode", "garbage", "out of sequence",
    r"(?:in|at) (?:this|the current|wrong|an? invalid) state|wrong state|invalid state",
    r"nicht unterstützt|(?:unbekannter|ungültiger) befehl", "commande (?:inconnue|invalide|non)",
    "non (?:support|pris)", "comando (?:desconoc|inválid|no |non|sconosc)",
    "(?:no soporta|não suporta|niet ondersteun|nieobsług)", "не поддержив|неизвестная команда",
    "不支持|不支援|命令无效|无效命令", "サポートされ", "지원하지 않",
)  # fmt: skip
"""The command or the mechanism is not taken. The usage of LOGIN is iCloud's answer."""

_CANNOT = r"(?:could ?n[o']t|can ?not|can't|unable to|failed to|failure|error)"
_SYSTEM = (
    r"(?:system|server|service|database|db|ldap|radius|network|disk|i/o|sql|storage|pam|dns|config\w*|backend|proxy"
    r"|connection|software|processing|application)"
)
_KIND = r"(?:unexpected|unknown|fatal|general|technical|critical|internal)"
_FAULT = r"(?:error|fail|bug|problem|fault|crash|trouble|issue)"
STATE = _words(
    r"tempora", "unavailable(?! (?:for|to) )", r"not (?:currently |yet |presently )?available(?! (?:for|to) )",
    r"time-?d?[ -]?out", "busy", "overload", "not connected", "backend", "upstream",
    rf"{_KIND}\S* (?:{_SYSTEM} )?{_FAULT}", rf"{_SYSTEM}\S* (?:(?!log|auth|sign|user|pass)\S+ )?{_FAULT}",
    r"(?:an )?error (?:has )?occur", "something went wrong", "maintenance", r"migrat(?:ing|ion|ed)",
    "(?:being|is) (?:moved|moving)", "upgrading", "(?:being|server|system) upgrade", r"shut(?:ting)? ?down",
    r"start(?:ing)? ?up", r"re(?:start|boot)(?:ed|ing)?\b", "not ready", "initiali[sz]", "offline", "moved to",
    "no route", "transmission channel", "open files",
    rf"{_CANNOT} (?:\w+ )?(?:connect|reach|contact|access (?!imap|your|this)|open|look ?up|load"
    rf"|read\b|write|creat"
    rf"|allocat|fork|communicat|retriev|chdir)",
    r"connect(?:ion|ing)\b(?:(?!auth|log|sign).){0,30}(?:refused|lost|failed|closed|reset|error|broken)",
    "connection to .{0,40}?(?:lost|failed|refused|closed|broken|timed)", "read-?only|replica",
    "connecting to", "lookup failed", r"(?:not|no|does ?n[o']t) respon[ds]", "unresponsive", "unreachable",
    "not reachable", r"(?:is|are|server|service|node|host|system) down\b",
    r"out of (?:memory|resources|disk|space|process)",
    "no space|disk full|insufficient (?!priv|perm|right|access|auth)", r"no .{0,20}server (?:is )?available",
    "resource", r"in use\b", r"already (?:logged|open|connected|active|in)", "locked by",
    "(?:mailbox|database) (?:is )?(?:currently )?locked", "good ?bye", "autologout", "idle for too long",
    r"session (?:has )?(?:expired|ended)", "please wait|wait (?:a|for|\\d)",
    r"(?:for|in|after|within) (?:\d+|an?|a few|some|several) (?:more )?(?:second|minute|min\b|hour|day)",
    r"logins are", r"currently (?:disabled|closed|not|down|out)", "out of service|service interruption",
    # German, Dutch, Scandinavian.
    "nicht (?:verfügbar|erreichbar)", "derzeit|momentan|vorübergehend|temporär", "~wartung", "~störung",
    "~serverfehler|serverfout", "~überlast", "intern(?:er|e) (?:fehler|fout|feil|fejl)",
    "niet (?:beschikbaar|bereikbaar)", "onderhoud|tijdelijk|storing|overbelast",
    "inte tillgänglig|ikke til(?:gj|gæ)", "underhåll|vedlige?hold|tillfällig|midlertidig",
    # Romance languages.
    "indispon", "non disponib|non è disponib|injoignable", "no (?:está )?disponible", "não (?:está )?disponível",
    "mantenimiento|manutenç|manutenz", "surcharg|sobrec?arg|sobrecarreg|sovraccaric|momentan",
    "erreur (?:interne|serveur|système|du)", "error (?:interno|del? (?:servidor|sistema))",
    "err(?:o|ore) (?:intern|do|del|di) ?", "en estos momentos|no momento|ocupado",
    # Slavic languages, Turkish.
    "niedostępn|konserwac|tymczasow|przeciąż|prace (?:tech|serw)", "błąd (?:serw|wewn)",
    "nedostup|údržb|dočasn|přetíž|chyba serv",
    "недоступ|временн|тимчасов|обслужив|обслугов|перегруж|не отвечает|техническ|профилакт",
    r"(?:внутрен\w+ |системн\w+ )ошибк|ошибка серв", "kullanılam|bakım|geçici|meşgul|sunucu hata",
    # Hungarian, Finnish, Croatian and its neighbours, Greek, Vietnamese, Indonesian, Hebrew, Arabic, Thai.
    "karbantart|átmeneti|ideiglenes|nem elérhető|túlterhel|szerverhiba|belső hiba",
    "tilapäi|väliaikai|huolto|ei (?:ole )?käytettävissä|palvelinvirhe|ylikuormit",
    "privremen|održavanj|nedostupn|nije dostup|preopterećen|začasn|vzdrževanj|greška poslužitelja",
    "προσωριν|συντήρησ|μη διαθέσιμ|δεν είναι διαθέσιμ|σφάλμα (?:του )?διακομιστή|υπερφόρτ",
    "bảo trì|tạm thời|quá tải|không khả dụng|lỗi (?:máy chủ|hệ thống)|đang bận",
    "sementara|pemeliharaan|tidak tersedia|sibuk|gangguan|kesalahan (?:server|sistem|internal)",
    "~(?:זמני|תחזוק|לא זמין|אינו זמין|עמוס|שגיאת שרת)",
    "~(?:مؤقت|صيانة|غير متاح|غير متوفر|مشغول|خطأ في الخادم)",
    "~(?:ชั่วคราว|ปิดปรับปรุง|บำรุงรักษา|ไม่พร้อมใช้|ไม่ว่าง|ข้อผิดพลาดของเซิร์ฟเวอร์)",
    # Chinese, Japanese, Korean.
    "繁忙|维护|維護|不可用|无法连接|無法連|超时|逾時|系统错误|系統錯誤|服务器错误|伺服器錯誤"
    "|内部错误|暂时|暫時|升级|迁移",
    "利用できま|メンテナンス|一時的|混雑|サーバーエラー|内部エラー|タイムアウト|応答",
    "점검|일시|사용할 수 없|서버 오류|내부 오류|시간 초과",
)  # fmt: skip
"""A state of the server, or of the account, that passes."""

AGAIN = _words(
    r"try (?:it )?again", "retry", r"later\b", "again (?:in|after)", "at (?:this time|the moment)|right now",
    "plus tard|réessay", "später|erneut|nochmal", "más tarde|inténtelo|intente|de nuevo", "mais tarde|novamente",
    "più tardi|riprova", "probeer|opnieuw|försök|prøv|senare|senere", "spróbuj|później|zkuste|později",
    "daha sonra|tekrar", "позже|попроб|повторите|пізніше|спробуйте", "稍后|稍後|重试|重試|再试|再試",
    "próbál|később|yritä|myöhemmin|pokušajte|kasnije|poskusite|δοκιμάστε|αργότερα|thử lại|coba lagi|nanti",
    "~נס[הו] שוב", "~מאוחר יותר", "~حاول", "~لاحق", "~مرة أخرى", "~(?:ลองใหม่|อีกครั้ง|ภายหลัง)",
    "しばらく|もう一度", "나중에|다시 시도",
)  # fmt: skip
"""An invitation to try again, which many servers add to the refusal of a wrong password as well."""

FAILED = _words(
    r"(?:auth\w*|log-?(?:in|on)|sign.?in|log in)\b (?:\w+ )?(?:has |is |was )?(?:fail|refus|reject"
    r"|den|incorrect|bad\b|error|unsuccess)",
    r"fail\w* (?:to )?(?:log|auth|sign)", r"(?:could ?n[o']t|can ?not|can't|unable to) (?:log|sign|auth)",
    "not (?:authenticated|authori)", r"un-?authori|(?:access|permission) (?:\w+ )?den",
    r"pass(?:word|wd|wort|phrase)", "credential", "kennwort|zugangsdaten|anmelde",
    "mot de passe|identifiant|authentification", "contraseñ|autenticaci|credencia", "senha|autenticaç",
    "credenzial|autenticazione", "wachtwoord|lösenord|passord|adgangskode|jelszó", "hasł|hesl|parol", "şifre",
    "парол|авториз|аутентиф|доступ запрещ", "~fehlgeschlagen", "échou|falló|falhou|fallit|не удал",
    "nie powiod|uwierzytelni|błąd logowania|nezdařil|přihlášení|ověření", "sikertelen|bejelentkez|hitelesít",
    "kirjautumi|salasan|tunnistautumi", "neuspješn|neuspešn|prijava ni|autentifikacij|lozink|zapork|gesl",
    "σύνδεση|κωδικ|ταυτότητ|αποτυχ|απέτυχ", "đăng nhập|xác thực|mật khẩu",
    "gagal (?:masuk|login|otent|autent)|(?:login|masuk|otentikasi|autentikasi) gagal|kata sandi",
    "~נכשל", "~סיסמ", "~فشل", "~كلمة ال", "~เข้าสู่ระบบ", "~รหัสผ่าน",
    "密码|密碼|登录失败|登入失敗|认证失败|验证失败|失敗", "パスワード|ログイン", "비밀번호|로그인",
    r"(?<![\w\W])\W*(?:(?:log-?in|auth\w*|logon)\W+)*(?:invalid|incorrect|bad|wrong|rejected|denied"
    r"|refused|failed|failure)\W*(?![\w\W])",
)  # fmt: skip
"""The login failed: the usual meaning is wrong credentials, unless the text has more."""
