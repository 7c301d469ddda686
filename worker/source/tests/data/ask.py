"""ask.py --port=N < questions.sql : asks them one by one with PyMySQL, which like our client takes the answers in their
older form, with an end behind the columns."""
import sys

import pymysql

port = int(sys.argv[1].removeprefix("--port="))
connection = pymysql.connect(host="127.0.0.1", port=port, user="capture", password="capture", ssl_disabled=True)
for line in sys.stdin:
    with connection.cursor() as cursor:
        try:
            cursor.execute(line.rstrip().rstrip(";"))
        except pymysql.Error as error:
            print(error, file=sys.stderr)
connection.close()
