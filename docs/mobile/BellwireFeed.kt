import java.net.URLEncoder
import java.util.concurrent.Executors
import java.util.concurrent.ScheduledFuture
import java.util.concurrent.TimeUnit.MILLISECONDS
import java.util.concurrent.TimeUnit.SECONDS
import kotlin.random.Random
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.Response
import okhttp3.WebSocket
import okhttp3.WebSocketListener
import org.json.JSONArray
import org.json.JSONObject

class BellwireFeed(
    private val host: String, private val publicKey: String, private val channel: String, private val user: String,
    private val token: (isNewNeeded: Boolean) -> String,        // not called on the main thread: it may wait
    kept: JSONObject? = null,                                   // what `kept` gave the last time, for the same user
    private val changed: (BellwireFeed) -> Unit                 // called on the same thread as `token`
) {
    // OkHttp pings by itself, and reports a failure when no pong comes: that is the heartbeat.
    private val http = OkHttpClient.Builder().pingInterval(30, SECONDS).connectTimeout(10, SECONDS).build()
    private val loop = Executors.newSingleThreadScheduledExecutor()     // everything below happens on it
    private val topic = "feeds:$channel:$user"
    private val answers = HashMap<String, (JSONObject?) -> Unit>()
    private val marks = java.util.ArrayDeque<JSONObject>()
    private var socket: WebSocket? = null
    private var retry: ScheduledFuture<*>? = null
    private var isOn = false
    private var isNewNeeded = false
    private var isMarking = false
    private var joinRef = ""
    private var ref = 0
    private var attempt = 0
    private var openedAt = 0L
    private var spread = 250L to 1_000L

    var items = kept?.let { objects(it.getJSONArray("items")) } ?: listOf()
        private set
    var counts = kept?.getJSONObject("counts") ?: JSONObject()
        private set
    var status = "off"
        private set
    private var version = kept?.getLong("version")
    private var after = kept?.optString("after")?.ifEmpty { null }

    /** For the application to store, once there is something. */
    val kept get() = version?.let {
        JSONObject().put("version", it).put("items", JSONArray(items)).put("counts", counts).put("after", after)
    }

    fun start() = loop.execute { if (!isOn) { isOn = true; attempt = 0; dial() } }
    fun stop() = loop.execute { isOn = false; drop(); become("off") }

    /** Sent now, or as soon as there is a connection; the feed shows it when the server has told so. */
    fun mark(status: String, ids: List<String>) = loop.execute {
        marks.addLast(JSONObject().put("as", status).put("ids", JSONArray(ids)))
        flush()
    }

    private fun dial() {
        become("connecting")
        val token = try { token(isNewNeeded) } catch (e: Exception) { return closed(1006) }
        val query = listOf("api_key" to publicKey, "user_token" to token, "vsn" to "2.0.0")
            .joinToString("&") { (name, value) -> name + "=" + URLEncoder.encode(value, "UTF-8") }
        val request = Request.Builder().url("$host/ws/v1/websocket?$query").build()
        socket = http.newWebSocket(request, object : WebSocketListener() {
            // Only of the socket that is in use: an older one has nothing to say any more.
            private fun of(socket: WebSocket, act: () -> Unit) = loop.execute { if (socket === this@BellwireFeed.socket) act() }
            override fun onOpen(webSocket: WebSocket, response: Response) = of(webSocket) { join() }
            override fun onMessage(webSocket: WebSocket, text: String) = of(webSocket) { hear(JSONArray(text)) }
            override fun onClosing(webSocket: WebSocket, code: Int, reason: String) = of(webSocket) { closed(code) }
            override fun onFailure(webSocket: WebSocket, t: Throwable, response: Response?) = of(webSocket) {
                closed(if (response?.code == 403) 4001 else 1006)       // 403: the key or the token was refused
            }
        })
    }

    private fun join() {
        openedAt = System.nanoTime()
        joinRef = "${ref + 1}"
        val own = JSONObject().put("since", version ?: JSONObject.NULL).put("archived", "exclude").put("page_size", 50)
        ask("phx_join", JSONObject().put("bellwire", own)) { reply ->
            if (reply == null) return@ask
            if (reply.getString("status") != "ok") return@ask closed(1006)
            val wait = reply.getJSONObject("response").getJSONArray("reconnect_ms")
            spread = wait.getLong(0) to wait.getLong(1)
            isNewNeeded = false
            become("live")
            flush()
        }
    }

    private fun hear(frame: JSONArray) {
        val (event, payload) = frame.getString(3) to frame.getJSONObject(4)
        if (event == "phx_reply") { answers.remove(frame.optString(1))?.invoke(payload); return }
        if (frame.getString(2) != topic || !(frame.isNull(0) || frame.getString(0) == joinRef)) return
        if (event == "feed.snapshot" || event == "feed.delta") take(payload)
        if (event == "phx_error" || event == "phx_close") closed(1006)
    }

    private fun take(news: JSONObject) {
        val next = news.getLong("version")
        val known = version
        if (news.has("entries")) {
            items = objects(news.getJSONArray("entries"))
            after = news.getJSONObject("page_info").let { if (it.isNull("after")) null else it.getString("after") }
        } else {
            if (known == null || news.getLong("since") > known) {
                return ask("feed.fetch", JSONObject().put("since", known ?: JSONObject.NULL)) {
                    if (it?.getString("status") == "ok") take(it.getJSONObject("response"))
                }
            }
            if (next <= known) return
            val byId = items.associateByTo(LinkedHashMap()) { it.getString("id") }
            // What is older than all we have comes with its own page.
            val oldest = if (after == null) "" else items.lastOrNull()?.getString("inserted_at") ?: ""
            objects(news.getJSONArray("items")).filter { byId.containsKey(it.getString("id")) || it.getString("inserted_at") >= oldest }
                .forEach { byId[it.getString("id")] = it }
            news.getJSONArray("removed").let { gone -> (0 until gone.length()).forEach { byId.remove(gone.getString(it)) } }
            items = byId.values.sortedByDescending { it.getString("inserted_at") }
        }
        version = next
        counts = news.getJSONObject("counts")
        changed(this)
    }

    private fun flush() {
        val mark = marks.firstOrNull()
        if (status != "live" || isMarking || mark == null) return
        isMarking = true
        ask("feed.mark", mark) { reply ->
            isMarking = false
            // Without an answer it is said again after the next join: a mark that is said twice is one mark.
            if (reply != null) { marks.removeFirst(); flush() }
        }
    }

    private fun ask(event: String, payload: JSONObject, answer: (JSONObject?) -> Unit) {
        val asked = "${++ref}"
        answers[asked] = answer
        socket?.send(JSONArray(listOf(joinRef, asked, topic, event, payload)).toString())
        // Silence means that the connection is dead, whatever the system thinks of it.
        loop.schedule({ if (answers.containsKey(asked)) closed(1006) }, 10, SECONDS)
    }

    private fun closed(code: Int) {
        if (openedAt != 0L && System.nanoTime() - openedAt > SECONDS.toNanos(10)) attempt = 0
        isNewNeeded = code == 4001
        drop()
        if (code == 1008) { isOn = false; return become("refused") }
        val top = maxOf(spread.second, minOf(30_000L, 1_000L shl minOf(attempt++, 5)))
        become("waiting")
        retry = loop.schedule({ dial() }, Random.nextLong(spread.first, top + 1), MILLISECONDS)
    }

    private fun drop() {
        retry?.cancel(false)
        openedAt = 0
        val old = socket
        socket = null
        old?.close(1000, null)
        val lost = answers.values.toList()
        answers.clear()
        lost.forEach { it(null) }
    }

    private fun become(now: String) { status = now; changed(this) }
    private fun objects(array: JSONArray) = (0 until array.length()).map { array.getJSONObject(it) }
}
