import Foundation

/// In the language mode of Swift 5; iOS 15 and newer.
@MainActor
final class BellwireFeed {
    typealias JSON = [String: Any]

    private(set) var items: [JSON] = []
    private(set) var counts: JSON = [:]
    private(set) var version: Int?
    private(set) var after: String?
    private(set) var status = "off"

    private let host: URL
    private let publicKey: String
    private let topic: String
    private let token: (_ isNewNeeded: Bool) async throws -> String
    private let changed: (BellwireFeed) -> Void
    private var life: Task<Void, Never>?
    private var socket: URLSessionWebSocketTask?
    private var answers: [String: CheckedContinuation<JSON?, Never>] = [:]
    private var marks: [JSON] = []
    private var isMarking = false
    private var isNewNeeded = false
    private var joinRef = ""
    private var ref = 0
    private var attempt = 0
    private var joinedAt: TimeInterval?
    private var spread = [250, 1_000]

    /// `kept`: what `kept` gave the last time, for the same user.
    init(host: URL, publicKey: String, channel: String, user: String, kept: JSON = [:],
         token: @escaping (_ isNewNeeded: Bool) async throws -> String, changed: @escaping (BellwireFeed) -> Void) {
        self.host = host
        self.publicKey = publicKey
        self.topic = "feeds:\(channel):\(user)"
        self.token = token
        self.changed = changed
        version = kept["version"] as? Int
        items = kept["items"] as? [JSON] ?? []
        counts = kept["counts"] as? JSON ?? [:]
        after = (kept["after"] as? String).flatMap { $0.isEmpty ? nil : $0 }
    }

    /// For the application to store, by `JSONSerialization`.
    var kept: JSON { ["version": since, "items": items, "counts": counts, "after": after ?? ""] }

    func start() {
        guard life == nil else { return }
        attempt = 0
        life = Task { await live() }
    }

    func stop() {
        life?.cancel()
        life = nil
        drop()
        become("off")
    }

    /// Sent now, or as soon as there is a connection; the feed shows it when the server has told so.
    func mark(_ status: String, _ ids: [String]) {
        marks.append(["as": status, "ids": ids])
        Task { await flush() }
    }

    /// Talks, waits, and talks again, for as long as it is wanted.
    private func live() async {
        while !Task.isCancelled {
            let code = await talk()
            if Task.isCancelled { return }
            if let joinedAt, ProcessInfo.processInfo.systemUptime - joinedAt > 10 { attempt = 0 }
            isNewNeeded = code == 4001
            drop()
            if code == 1008 {
                life = nil
                return become("refused")
            }
            let top = max(spread[1], min(30_000, 1_000 << min(attempt, 5)))
            attempt += 1
            become("waiting")
            try? await Task.sleep(nanoseconds: UInt64(Int.random(in: spread[0]...top)) * 1_000_000)
        }
    }

    /// One connection, from its beginning to its end; how it ended.
    private func talk() async -> Int {
        become("connecting")
        guard let pass = try? await token(isNewNeeded), !Task.isCancelled else { return 1006 }
        var address = URLComponents(url: host.appendingPathComponent("ws/v1/websocket"), resolvingAgainstBaseURL: false)!
        address.scheme = host.scheme == "http" ? "ws" : "wss"
        address.queryItems = ["api_key": publicKey, "user_token": pass, "vsn": "2.0.0"].map { URLQueryItem(name: $0.key, value: $0.value) }
        let socket = URLSession.shared.webSocketTask(with: address.url!)
        socket.maximumMessageSize = 8 << 20     // a page of items may be larger than the usual megabyte
        self.socket = socket
        socket.resume()
        let talking = Task {
            await join()                        // kept by the system until the socket is open
            while !Task.isCancelled {
                try? await Task.sleep(nanoseconds: 30_000_000_000)
                if !Task.isCancelled { _ = await ask("heartbeat", [:], on: "phoenix") }
            }
        }
        defer { talking.cancel() }
        do {
            while true {
                let message = try await socket.receive()
                if case .string(let text) = message { hear(text) }
            }
        } catch {
            let isRefused = (socket.response as? HTTPURLResponse)?.statusCode == 403     // the key or the token
            return isRefused ? 4001 : socket.closeCode.rawValue
        }
    }

    /// What the server is told that we have.
    private var since: Any {
        if let version { return version }
        return NSNull()
    }

    private func join() async {
        joinRef = String(ref + 1)
        let own: JSON = ["since": since, "archived": "exclude", "page_size": 50]
        guard let reply = await ask("phx_join", ["bellwire": own]) else { return }
        guard reply["status"] as? String == "ok", let welcome = reply["response"] as? JSON else { return hangUp() }
        spread = welcome["reconnect_ms"] as? [Int] ?? spread
        joinedAt = ProcessInfo.processInfo.systemUptime
        isNewNeeded = false
        become("live")
        await flush()
    }

    private func hear(_ text: String) {
        guard let frame = (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [Any], frame.count >= 5,
              let event = frame[3] as? String, let payload = frame[4] as? JSON else { return }
        if event == "phx_reply" {
            answers.removeValue(forKey: frame[1] as? String ?? "")?.resume(returning: payload)
        } else if frame[2] as? String == topic, frame[0] is NSNull || frame[0] as? String == joinRef {
            if event == "feed.snapshot" || event == "feed.delta" { take(payload) }
            if event == "phx_error" || event == "phx_close" { hangUp() }
        }
    }

    private func take(_ news: JSON) {
        guard let next = news["version"] as? Int else { return }
        let time = { (item: JSON) in item["inserted_at"] as? String ?? "" }
        let id = { (item: JSON) in item["id"] as? String ?? "" }
        if let entries = news["entries"] as? [JSON] {
            items = entries
            after = (news["page_info"] as? JSON)?["after"] as? String
        } else {
            guard let had = version, let from = news["since"] as? Int, from <= had else { return catchUp() }
            if next <= had { return }
            var known = Dictionary(items.map { (id($0), $0) }, uniquingKeysWith: { $1 })
            // What is older than all we have comes with its own page.
            let oldest = after == nil ? "" : items.last.map(time) ?? ""
            for item in news["items"] as? [JSON] ?? [] where known[id(item)] != nil || time(item) >= oldest { known[id(item)] = item }
            for gone in news["removed"] as? [String] ?? [] { known[gone] = nil }
            items = known.values.sorted { (time($0), id($0)) > (time($1), id($1)) }
        }
        version = next
        counts = news["counts"] as? JSON ?? counts
        changed(self)
    }

    private func catchUp() {
        Task {
            guard let reply = await ask("feed.fetch", ["since": since]), reply["status"] as? String == "ok" else { return }
            take(reply["response"] as? JSON ?? [:])
        }
    }

    private func flush() async {
        while status == "live", !isMarking, let mark = marks.first {
            isMarking = true
            let reply = await ask("feed.mark", mark)
            isMarking = false
            // Without an answer it is said again after the next join: a mark that is said twice is one mark.
            if reply == nil { return }
            marks.removeFirst()
        }
    }

    private func ask(_ event: String, _ payload: JSON, on other: String? = nil) async -> JSON? {
        ref += 1
        let asked = String(ref)
        let from: Any = other == nil ? joinRef as Any : NSNull()
        let frame: [Any] = [from, asked, other ?? topic, event, payload]
        guard let socket, let data = try? JSONSerialization.data(withJSONObject: frame) else { return nil }
        return await withCheckedContinuation { answer in
            answers[asked] = answer
            socket.send(.string(String(decoding: data, as: UTF8.self))) { _ in }        // a failure ends `receive` as well
            Task {
                try? await Task.sleep(nanoseconds: 10_000_000_000)
                // Silence means that the connection is dead, whatever the system thinks of it.
                if answers[asked] != nil { hangUp() }
            }
        }
    }

    /// Ends the connection; `receive` fails, and `live` goes on.
    private func hangUp() { socket?.cancel(with: .goingAway, reason: nil) }

    private func drop() {
        socket?.cancel(with: .normalClosure, reason: nil)
        socket = nil
        joinedAt = nil
        let lost = answers.values
        answers = [:]
        lost.forEach { $0.resume(returning: nil) }
    }

    private func become(_ now: String) {
        status = now
        changed(self)
    }
}
