import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:math';

typedef Json = Map<String, dynamic>;

class BellwireFeed {
  BellwireFeed({required this.host, required this.publicKey, required this.channel, required this.user, required this.token, required this.changed});

  final String host, publicKey, channel, user;
  final Future<String> Function(bool isNewNeeded) token;
  final void Function(BellwireFeed feed) changed;

  // What the application keeps, and sets before `start` the next time, for the same user.
  List<Json> items = [];
  Json counts = {};
  int? version;
  String? after;

  String status = 'off';

  WebSocket? _socket;
  final _answers = <String, Completer<Json?>>{};
  final _marks = <Json>[];
  final _random = Random();
  final _sinceJoin = Stopwatch();
  List<int> _spread = [250, 1000];
  String _joinRef = '';
  int _turn = 0, _ref = 0, _attempt = 0;
  bool _isOn = false, _isNewNeeded = false, _isMarking = false;

  String get _topic => 'feeds:$channel:$user';

  void start() {
    if (_isOn) return;
    _isOn = true;
    _attempt = 0;
    unawaited(_live(++_turn));
  }

  void stop() {
    _isOn = false;
    _turn++;
    _drop();
    _become('off');
  }

  /// Sent now, or as soon as there is a connection; the feed shows it when the server has told so.
  void mark(String status, List<String> ids) {
    _marks.add({'as': status, 'ids': ids});
    unawaited(_flush());
  }

  /// Talks, waits, and talks again, for as long as it is wanted.
  Future<void> _live(int turn) async {
    while (turn == _turn) {
      final code = await _talk(turn);
      if (turn != _turn) return;
      if (_sinceJoin.elapsed > const Duration(seconds: 10)) _attempt = 0;
      // A refused upgrade looks like a server that is not there: now and then it may be the token.
      _isNewNeeded = code == 4001 || (!_sinceJoin.isRunning && _attempt % 4 == 3);
      _drop();
      if (code == 1008) {
        _isOn = false;
        _become('refused');
        return;
      }
      final top = max(_spread[1], min(30000, 1000 << min(_attempt++, 5)));
      _become('waiting');
      await Future<void>.delayed(Duration(milliseconds: _spread[0] + _random.nextInt(top - _spread[0] + 1)));
    }
  }

  /// One connection, from its beginning to its end; how it ended.
  Future<int> _talk(int turn) async {
    _become('connecting');
    try {
      final query = {'api_key': publicKey, 'user_token': await token(_isNewNeeded), 'vsn': '2.0.0'};
      final base = Uri.parse(host);
      final address = base.replace(scheme: base.scheme == 'http' ? 'ws' : 'wss', path: '/ws/v1/websocket', queryParameters: query);
      final socket = await WebSocket.connect('$address').timeout(const Duration(seconds: 10));
      if (turn != _turn) {
        unawaited(socket.close(1000));
        return 1000;
      }
      // Pings by itself, and closes when no pong comes: that is the heartbeat.
      socket.pingInterval = const Duration(seconds: 30);
      _socket = socket;
      unawaited(_join());
      await for (final text in socket) {
        if (turn == _turn && text is String) _hear(jsonDecode(text) as List<dynamic>);
      }
      return socket.closeCode ?? 1006;
    } catch (_) {
      return 1006;
    }
  }

  Future<void> _join() async {
    _joinRef = '${_ref + 1}';
    final reply = await _ask('phx_join', {
      'bellwire': {'since': version, 'archived': 'exclude', 'page_size': 50},
    });
    if (reply == null) return;
    if (reply['status'] != 'ok') {
      _hangUp();
      return;
    }
    _spread = ((reply['response'] as Json)['reconnect_ms'] as List<dynamic>).cast<int>();
    _sinceJoin
      ..reset()
      ..start();
    _isNewNeeded = false;
    _become('live');
    await _flush();
  }

  void _hear(List<dynamic> frame) {
    final event = frame[3] as String, payload = frame[4] as Json;
    if (event == 'phx_reply') {
      _answers.remove(frame[1])?.complete(payload);
      return;
    }
    if (frame[2] != _topic || (frame[0] != null && frame[0] != _joinRef)) return;
    if (event == 'feed.snapshot' || event == 'feed.delta') _take(payload);
    if (event == 'phx_error' || event == 'phx_close') _hangUp();
  }

  void _take(Json news) {
    final next = news['version'] as int, known = version;
    if (news.containsKey('entries')) {
      items = (news['entries'] as List<dynamic>).cast<Json>();
      after = (news['page_info'] as Json)['after'] as String?;
    } else {
      if (known == null || (news['since'] as int) > known) {
        unawaited(_catchUp());
        return;
      }
      if (next <= known) return;
      final byId = {for (final item in items) item['id'] as String: item};
      // What is older than all we have comes with its own page.
      final oldest = after == null || items.isEmpty ? '' : items.last['inserted_at'] as String;
      for (final item in (news['items'] as List<dynamic>).cast<Json>()) {
        final isOurs = byId.containsKey(item['id']) || (item['inserted_at'] as String).compareTo(oldest) >= 0;
        if (isOurs) byId[item['id'] as String] = item;
      }
      (news['removed'] as List<dynamic>).forEach(byId.remove);
      items = byId.values.toList()..sort((a, b) => (b['inserted_at'] as String).compareTo(a['inserted_at'] as String));
    }
    version = next;
    counts = news['counts'] as Json;
    changed(this);
  }

  Future<void> _catchUp() async {
    final reply = await _ask('feed.fetch', {'since': version});
    if (reply != null && reply['status'] == 'ok') _take(reply['response'] as Json);
  }

  Future<void> _flush() async {
    while (status == 'live' && _marks.isNotEmpty && !_isMarking) {
      _isMarking = true;
      final reply = await _ask('feed.mark', _marks.first);
      _isMarking = false;
      // Without an answer it is said again after the next join: a mark that is said twice is one mark.
      if (reply == null) return;
      _marks.removeAt(0);
    }
  }

  Future<Json?> _ask(String event, Json payload) {
    final socket = _socket, asked = '${++_ref}', answer = Completer<Json?>();
    if (socket == null) return Future.value();
    _answers[asked] = answer;
    socket.add(jsonEncode([_joinRef, asked, _topic, event, payload]));
    // Silence means that the connection is dead, whatever the system thinks of it.
    Timer(const Duration(seconds: 10), () {
      if (!answer.isCompleted) _hangUp();
    });
    return answer.future;
  }

  /// Ends the connection; `_live` goes on. Without a close frame of the other side it takes some seconds.
  void _hangUp() => unawaited(_socket?.close(1000));

  void _drop() {
    _hangUp();
    _socket = null;
    _sinceJoin
      ..stop()
      ..reset();
    final lost = _answers.values.toList();
    _answers.clear();
    for (final answer in lost) {
      answer.complete(null);
    }
  }

  void _become(String now) {
    status = now;
    changed(this);
  }
}
