BEGIN TRANSACTION;
CREATE TABLE allowances (
        rule TEXT NOT NULL, mark BLOB NOT NULL, thing TEXT NOT NULL, since REAL NOT NULL, until REAL,
        reason TEXT NOT NULL, PRIMARY KEY (rule, mark)
    ) WITHOUT ROWID;
CREATE TABLE commits (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), count INTEGER);
INSERT INTO "commits" VALUES(1,1);
CREATE TABLE counting_time (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL, ahead REAL NOT NULL
    );
CREATE TABLE daybook (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), entered INTEGER NOT NULL, open INTEGER NOT NULL
    );
INSERT INTO "daybook" VALUES(1,5,1);
CREATE TABLE declared_uses (
        module BLOB NOT NULL, account BLOB NOT NULL, policy BLOB NOT NULL, config_id BLOB NOT NULL,
        slot BLOB NOT NULL, uses INTEGER NOT NULL,
        PRIMARY KEY (module, account, policy, config_id, slot)
    ) WITHOUT ROWID;
CREATE TABLE doubts (
        chain_id INTEGER NOT NULL, block INTEGER NOT NULL, module BLOB NOT NULL, account BLOB NOT NULL,
        permission_id BLOB NOT NULL, read INTEGER NOT NULL,
        PRIMARY KEY (chain_id, block, module, account, permission_id)
    ) WITHOUT ROWID;
CREATE TABLE former_sessions (chain_id INTEGER NOT NULL, module BLOB NOT NULL, account BLOB NOT NULL, permission_id BLOB NOT NULL, state TEXT NOT NULL, PRIMARY KEY (chain_id, module, account, permission_id)) WITHOUT ROWID;
CREATE TABLE freezes (
        permission_id BLOB NOT NULL, account BLOB NOT NULL, chain_id INTEGER NOT NULL,
        since REAL NOT NULL, note TEXT NOT NULL,
        PRIMARY KEY (permission_id, account, chain_id)
    ) WITHOUT ROWID;
CREATE TABLE "operations_counted" (
        id INTEGER NOT NULL PRIMARY KEY, user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, reverted INTEGER NOT NULL,
        gas INTEGER NOT NULL, gwei INTEGER NOT NULL, wei INTEGER NOT NULL, ended_at REAL NOT NULL
    );
INSERT INTO "operations_counted" VALUES(1,X'0000000000000000000000000000000000000000000000000000000000000001','0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e/0xacacacacacacacacacacacacacacacacacacacac/0x1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d',0,101,1,1,1001.0);
INSERT INTO "operations_counted" VALUES(2,X'0000000000000000000000000000000000000000000000000000000000000002','0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e/0xacacacacacacacacacacacacacacacacacacacac/0x1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d',1,102,2,2,1002.0);
CREATE TABLE "operations_ended" (
        id INTEGER NOT NULL PRIMARY KEY, user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, chain_id INTEGER NOT NULL,
        ended_at REAL NOT NULL, cause TEXT NOT NULL, block INTEGER, block_hash BLOB, success INTEGER,
        added INTEGER NOT NULL, counted_at INTEGER, accepted_at REAL NOT NULL, stage TEXT NOT NULL,
        silent REAL NOT NULL, evidence TEXT NOT NULL, record TEXT NOT NULL
    );
INSERT INTO "operations_ended" VALUES(1,X'0000000000000000000000000000000000000000000000000000000000000001','0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e/0xacacacacacacacacacacacacacacacacacacacac/0x1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d',1868,1001.0,'mined',1,X'0101010101010101010101010101010101010101010101010101010101010101',1,1,1001,1.0,'accepted',0.0,'{"timestamp":1001,"transaction":"7777777777777777777777777777777777777777777777777777777777777777"}','{"type":"held","bundler":{"text":""},"of":["0000000000000000000000000000000000000000000000000000000000000001",1868,"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e","acacacacacacacacacacacacacacacacacacacac","1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d","eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",1,[["9090909090909090909090909090909090909090","c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","7370656e64",1,100]],null,null,null,1.0,0.0]}');
INSERT INTO "operations_ended" VALUES(2,X'0000000000000000000000000000000000000000000000000000000000000002','0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e/0xacacacacacacacacacacacacacacacacacacacac/0x1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d',1868,1002.0,'mined',2,X'0202020202020202020202020202020202020202020202020202020202020202',0,1,1002,2.0,'accepted',0.0,'{"timestamp":1002,"transaction":"7777777777777777777777777777777777777777777777777777777777777777"}','{"type":"held","bundler":{"text":""},"of":["0000000000000000000000000000000000000000000000000000000000000002",1868,"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e","acacacacacacacacacacacacacacacacacacacac","1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d","eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",2,[["9090909090909090909090909090909090909090","c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","7370656e64",1,100]],null,null,null,2.0,0.0]}');
CREATE TABLE "operations_in_flight" (
        id INTEGER NOT NULL PRIMARY KEY, user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, accepted_at REAL NOT NULL,
        record TEXT NOT NULL, stage TEXT NOT NULL, silent REAL NOT NULL
    );
INSERT INTO "operations_in_flight" VALUES(1,X'0000000000000000000000000000000000000000000000000000000000000003','0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e/0xacacacacacacacacacacacacacacacacacacacac/0x1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d',3.0,'{"type":"held","bundler":{"text":""},"of":["0000000000000000000000000000000000000000000000000000000000000003",1868,"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e","acacacacacacacacacacacacacacacacacacacac","1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d","eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",3,[["9090909090909090909090909090909090909090","c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","7370656e64",1,100]],null,null,null,3.0,0.0]}','accepted',0.0);
INSERT INTO "operations_in_flight" VALUES(2,X'0000000000000000000000000000000000000000000000000000000000000004','0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e/0xacacacacacacacacacacacacacacacacacacacac/0x1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d',4.0,'{"type":"held","bundler":{"text":""},"of":["0000000000000000000000000000000000000000000000000000000000000004",1868,"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e","acacacacacacacacacacacacacacacacacacacac","1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d","eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",4,[["9090909090909090909090909090909090909090","c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","7370656e64",1,100]],null,null,null,4.0,0.0]}','accepted',0.0);
CREATE TABLE probes (id INTEGER NOT NULL PRIMARY KEY, written_at REAL NOT NULL);
CREATE TABLE rewound (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), at REAL NOT NULL);
CREATE TABLE "rule_histories" (rule BLOB NOT NULL, grp BLOB NOT NULL, state TEXT NOT NULL, updated REAL NOT NULL, PRIMARY KEY (grp, rule)) WITHOUT ROWID;
CREATE TABLE "rule_marks" (rule BLOB NOT NULL, grp BLOB NOT NULL, mark BLOB NOT NULL, expires INTEGER NOT NULL, times INTEGER NOT NULL, earlier INTEGER NOT NULL, PRIMARY KEY (grp, rule, mark)) WITHOUT ROWID;
CREATE TABLE "rule_windows" (rule BLOB NOT NULL, grp BLOB NOT NULL, bucket INTEGER NOT NULL, amount TEXT NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (grp, rule, bucket)) WITHOUT ROWID;
CREATE TABLE session_uses (
        chain_id INTEGER NOT NULL, module BLOB NOT NULL, account BLOB NOT NULL, permission_id BLOB NOT NULL, mined INTEGER NOT NULL, reverted INTEGER NOT NULL, gas INTEGER NOT NULL, gwei INTEGER NOT NULL,
        wei INTEGER NOT NULL, last_used REAL NOT NULL, PRIMARY KEY (chain_id, module, account, permission_id)
    ) WITHOUT ROWID;
INSERT INTO "session_uses" VALUES(1868,X'5E5E5E5E5E5E5E5E5E5E5E5E5E5E5E5E5E5E5E5E',X'ACACACACACACACACACACACACACACACACACACACAC',X'1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D1D',2,1,203,3,3,1002.0);
CREATE TABLE sessions (
        chain_id INTEGER NOT NULL, module BLOB NOT NULL, account BLOB NOT NULL, permission_id BLOB NOT NULL,
        status TEXT NOT NULL, source TEXT NOT NULL, state TEXT, granted_by BLOB, block INTEGER,
        updated_at REAL NOT NULL, since REAL,
        PRIMARY KEY (chain_id, module, account, permission_id)
    ) WITHOUT ROWID;
CREATE TABLE settled (
        chain_id INTEGER NOT NULL PRIMARY KEY, block INTEGER NOT NULL, block_hash BLOB NOT NULL,
        timestamp INTEGER NOT NULL, known_seconds REAL NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE settled_blocks (
        chain_id INTEGER NOT NULL, block INTEGER NOT NULL, block_hash BLOB NOT NULL, PRIMARY KEY (chain_id, block)
    ) WITHOUT ROWID;
CREATE INDEX doubts_unread ON doubts (chain_id, module, account, permission_id) WHERE NOT read;
CREATE INDEX operations_in_flight_hash ON operations_in_flight (user_op_hash);
CREATE INDEX operations_counted_at ON operations_counted (ended_at);
CREATE INDEX rule_windows_expires ON rule_windows (expires);
CREATE INDEX rule_marks_expires ON rule_marks (expires);
CREATE INDEX operations_ended_hash ON operations_ended (substr(user_op_hash, 1, 8));
CREATE INDEX operations_ended_at ON operations_ended (ended_at);
CREATE INDEX operations_counted_hash ON operations_counted (substr(user_op_hash, 1, 8));
COMMIT;
PRAGMA user_version = 79;
